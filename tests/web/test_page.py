"""The page in a real browser, served by a real `id2face web`, with the real model.

It skips, and says so, where Debian's chromium and chromium-driver are not installed;
`.ci/run` installs them. To take the pictures of docs/web.md anew, with the model's own
number of steps:

    ID2FACE_SCREENSHOT=docs/web.jpg .venv/bin/python -m pytest tests/web/test_page.py
"""

import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time
import urllib.parse

import numpy as np
import PIL.Image
import pytest
import skimage.data

pytestmark = pytest.mark.slow  # a process that loads and compiles the model
SCREENSHOT = os.environ.get("ID2FACE_SCREENSHOT")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
# Background networking: Chromium looks for updates and sends reports of its own.
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    *("--window-size=1200,1340", "--force-device-scale-factor=1"),
)
PATIENCE = 280  # seconds; a busy machine compiles the model for minutes


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """(address, folders that must stay empty) of a second process."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("tmp", "cwd", "home")}
    environment = {
        **os.environ,
        "TMPDIR": str(folders["tmp"]),
        "HOME": str(folders["home"]),
        "ID2FACE_CACHE_DIR": os.environ["JAX_COMPILATION_CACHE_DIR"],
        "PYTHONPATH": str(pathlib.Path(__file__).resolve().parents[2]),
    }
    command = [sys.executable, "-m", "id2face_jax.cli", "web", "--port", "0"]
    command += [] if SCREENSHOT else ["--steps", "2"]
    process = subprocess.Popen(
        command,
        cwd=folders["cwd"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    watch = threading.Timer(PATIENCE, process.kill)
    watch.start()
    line = process.stdout.readline()
    watch.cancel()
    try:
        assert "the page is at http://127.0.0.1:" in line, line
        yield line.split()[4].rstrip(";"), folders
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not CHROMIUM or not DRIVER:
        pytest.skip("no chromium and chromedriver: the page was not tried in a browser")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS:
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    downloads = tmp_path_factory.mktemp("downloads")
    options.add_experimental_option(
        "prefs", {"download.default_directory": str(downloads)}
    )
    options.set_capability(
        "goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"}
    )
    driver = webdriver.Chrome(options, Service(DRIVER))
    driver.downloads = downloads
    yield driver
    driver.quit()


def wait(browser, script):
    """What `script` returns once that is true."""
    for _ in range(PATIENCE * 4):
        value = browser.execute_script(f"return {script}")
        if value:
            return value
        time.sleep(0.25)
    shown = browser.execute_script("return document.body.innerText")
    raise AssertionError(f"{script} stayed false; the page shows:\n{shown}")


def element(browser, name):
    return browser.find_element("id", name)


def upload(browser, path):
    element(browser, "file").send_keys(str(path))


def downloaded(browser, name):
    path = browser.downloads / name
    for _ in range(100):
        if path.exists() and path.stat().st_size:
            return path.read_bytes()
        time.sleep(0.1)
    raise AssertionError(f"{name} was not saved; {os.listdir(browser.downloads)}")


def requested(browser):
    """The addresses that the browser asked the network for since the last call.

    Not those inside of it: blob:, data:, and chrome: of its own empty tab.
    """
    events = [json.loads(entry["message"]) for entry in browser.get_log("performance")]
    sent = [e["message"] for e in events]
    urls = [
        e["params"]["request"]["url"]
        for e in sent
        if e["method"] == "Network.requestWillBeSent"
    ]
    network = ("http", "https", "ws", "wss", "ftp")
    return [url for url in urls if urllib.parse.urlsplit(url).scheme in network]


def photo(folder, pixels, name="her name.jpg"):
    exif = PIL.Image.Exif()
    exif[271] = "camera"
    exif.get_ifd(0x8825)[2] = (48.0, 51.0, 0.0)
    path = folder / name
    PIL.Image.fromarray(pixels).save(path, quality=95, exif=exif)
    return path


def test_photo_is_dropped_hidden_compared_and_saved(page, browser, tmp_path):
    address, folders = page
    source = skimage.data.astronaut()
    browser.get(address)
    assert not element(browser, "start").is_enabled()
    upload(browser, photo(tmp_path, source))
    wait(browser, "!document.getElementById('chosen').hidden")
    element(browser, "start").click()
    wait(browser, "!document.getElementById('answer').hidden")

    (row,) = browser.find_elements("css selector", "#faces tbody tr")
    number, outcome, risk, similarity = (
        cell.text for cell in row.find_elements("css selector", "td")
    )
    assert number == "1" and outcome.startswith(("new face", "blurred"))
    assert "below the limit" in risk and "limit" in similarity
    assert "original face" in element(browser, "headline").text or "blurred" in (
        element(browser, "headline").text
    )

    element(browser, "save").click()
    content = downloaded(browser, "anonymized.jpg")
    image = PIL.Image.open(io.BytesIO(content))
    assert not image.getexif() and b"camera" not in content
    new = np.asarray(image).astype(int)
    assert new.shape == source.shape
    # Her face is another one; the far corner is as it was, but for JPEG.
    assert np.abs(new - source)[70:150, 190:260].mean() > 8
    assert np.abs(new - source)[400:, :100].mean() < 3
    element(browser, "report").click()
    report = json.loads(downloaded(browser, "report.json"))
    assert report["state"] in ("anonymized", "fallback") and "her" not in str(report)

    # Before and after share the frame, and the slider parts them.
    shares = []
    for value in (20, 80):
        browser.execute_script(
            "const s = document.getElementById('slider'); s.value = arguments[0];"
            "s.dispatchEvent(new Event('input'))",
            value,
        )
        shares.append(
            browser.execute_script(
                "return getComputedStyle(document.getElementById('before')).clipPath"
            )
        )
    assert shares == ["inset(0px 80% 0px 0px)", "inset(0px 20% 0px 0px)"]
    if SCREENSHOT:
        take_screenshot(browser)
    assert_it_fits(browser)

    # Nothing left this computer, nothing was written, no script complained.
    urls = requested(browser)
    assert len(urls) >= 4
    assert not [url for url in urls if not url.startswith(address)]
    kept = [path for f in folders.values() for path in f.rglob("*") if path.is_file()]
    assert kept == []
    assert browser.get_log("browser") == []


def assert_it_fits(browser):
    """Nothing is wider than the window, be it a phone's."""
    for width in (320, 390, 800, 1200):
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": True},
        )
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def take_screenshot(browser):
    browser.execute_script(
        "const s = document.getElementById('slider'); s.value = 44;"
        "s.dispatchEvent(new Event('input')); s.blur(); window.scrollTo(0, 0)"
    )
    picture = PIL.Image.open(io.BytesIO(browser.get_screenshot_as_png()))
    picture.convert("RGB").save(SCREENSHOT, quality=85, optimize=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: np.full((64, 80, 3), 90, np.uint8), "No face was found"),
        (lambda: b"\xff\xd8 no photo", "Could not anonymize: the photo"),
    ],
    ids=["no face", "no photo"],
)
def test_photo_that_is_not_given_out_is_not_shown(
    page, browser, tmp_path, make, message
):
    browser.get(page[0])
    content = make()
    if isinstance(content, bytes):
        path = tmp_path / "a.jpg"
        path.write_bytes(content)
    else:
        path = photo(tmp_path, content)
    upload(browser, path)
    wait(browser, "!document.getElementById('start').disabled")
    element(browser, "start").click()
    wait(
        browser,
        "!document.getElementById('answer').hidden"
        " || document.getElementById('status').className === 'error'",
    )
    assert message in element(browser, "result").text
    shown = browser.execute_script(
        "return [...document.querySelectorAll('img')]"
        ".filter(image => image.offsetParent && image.naturalWidth).length"
    )
    assert shown == 0
    assert not element(browser, "save").is_displayed()


def test_a_page_of_another_host_is_refused_by_the_browser(page, browser):
    """The policy holds: the page itself cannot send anything elsewhere."""
    browser.get(page[0])
    blocked = browser.execute_async_script(
        "const done = arguments[0];"
        "fetch('http://127.0.0.2:9/').then(() => done('sent'), e => done('blocked'))"
    )
    assert blocked == "blocked"
    log = " ".join(entry["message"] for entry in browser.get_log("browser"))
    assert "Content Security Policy" in log
