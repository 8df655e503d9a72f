// The page's only script. The photo leaves through one fetch, to where the page came
// from; pictures live in blob: addresses of this tab and are released when replaced.
const MAX_BYTES = 50_000_000;  // as in answers.py, which decides
const at = (id) => document.getElementById(id);
let photo = null;

function show(image, content) {
  URL.revokeObjectURL(image.src);
  image.src = content ? URL.createObjectURL(content) : "";
  return image.decode();
}

function say(text, kind = "hint") {
  at("status").textContent = text;
  at("status").className = kind;
}

function forget() {
  // Of a photo without a result nothing stays in view, least of all the photo.
  at("answer").hidden = true;
  for (const id of ["before", "after"]) show(at(id), null).catch(() => {});
}

async function choose(file) {
  forget();
  photo = null;
  at("start").disabled = true;
  at("chosen").hidden = true;
  if (!file) return;
  if (file.size > MAX_BYTES) {
    say(`The photo has ${Math.ceil(file.size / 1e6)} MB; at most 50 are taken.`, "error");
    return;
  }
  photo = file;
  at("start").disabled = false;
  say("Press the button to hide the faces.");
  try {
    await show(at("chosen"), file);
    at("chosen").hidden = false;
  } catch {
    // A kind that the browser cannot show, HEIC say, id2face may still read.
  }
}

// Yields the lines of the answer, and at last the bytes that follow them.
async function* parts(body) {
  const reader = body.getReader();
  let bytes = new Uint8Array(0);
  const more = async () => {
    const { value, done } = await reader.read();
    if (done) return false;
    const joined = new Uint8Array(bytes.length + value.length);
    joined.set(bytes);
    joined.set(value, bytes.length);
    bytes = joined;
    return true;
  };
  for (;;) {
    const end = bytes.indexOf(10);
    if (end < 0) {
      if (!(await more())) throw new Error("the answer broke off");
      continue;
    }
    const line = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end)));
    bytes = bytes.slice(end + 1);
    yield line;
    if (line.length === undefined) continue;
    const chunks = [bytes];
    for (let { value, done } = await reader.read(); !done;
         { value, done } = await reader.read()) chunks.push(value);
    const picture = new Blob(chunks, { type: line.type });
    if (picture.size !== line.length) throw new Error("the answer broke off");
    yield picture;
    return;
  }
}

async function start(event) {
  event.preventDefault();
  const sent = photo;
  forget();
  at("start").disabled = true;
  at("file").disabled = true;
  const began = Date.now();
  try {
    const settings = new URLSearchParams(
      { seed: at("seed").value || "0", strength: at("strength").value });
    say("Sending the photo …");
    // In one column it is below what is seen.
    if (matchMedia("(max-width: 52rem)").matches) at("result").scrollIntoView();
    const response = await fetch(`anonymize?${settings}`, { method: "POST", body: sent });
    const kind = response.headers.get("Content-Type") ?? "";
    if (!kind.startsWith("application/")) {  // a proxy's, or that of a server in a rush
      throw new Error(`the server answers ${response.status}; try again later`);
    }
    let about = null;
    for await (const part of parts(response.body)) {
      if (part instanceof Blob) {
        await present(about, part, sent);
      } else if (part.error) {
        throw new Error(part.error);
      } else if (part.ahead === undefined) {
        about = part;
      } else {
        const seconds = Math.round((Date.now() - began) / 1000);
        say(part.ahead
          ? `Waiting; photos before this one: ${part.ahead}. (${seconds} s)`
          : `Finding, replacing and checking faces … (${seconds} s; the first photo ` +
            "takes longest)");
      }
    }
  } catch (error) {
    forget();
    say(`Could not anonymize: ${error.message}.`, "error");
  } finally {
    at("start").disabled = false;
    at("file").disabled = false;
  }
}

async function present(about, picture, sent) {
  const given = picture.size > 0;
  at("headline").textContent = about.headline;
  at("headline").className = `headline ${about.state}`;
  at("figure").hidden = at("save").hidden = !given;
  at("faces").hidden = at("note").hidden = about.faces.length === 0;
  at("faces").tBodies[0].replaceChildren(...about.faces.map(row));
  if (given) {
    await show(at("after"), picture);
    at("compare").classList.remove("single");
    await show(at("before"), sent).catch(() => at("compare").classList.add("single"));
    at("marks").replaceChildren(...about.faces.map(mark));
    at("save").href = at("after").src;
    at("save").download = about.type === "image/png" ? "anonymized.png" : "anonymized.jpg";
  } else {
    at("chosen").hidden = true;
  }
  URL.revokeObjectURL(at("report").href);
  const report = JSON.stringify(about.report, null, 1);
  at("report").href = URL.createObjectURL(new Blob([report], { type: "application/json" }));
  say("");
  at("answer").hidden = false;
}

function row(face, index) {
  const cells = [`${index + 1}`, face.outcome, face.words, ""];
  const line = document.createElement("tr");
  const labels = at("faces").tHead.rows[0].cells;
  line.append(...cells.map((text, column) => {
    const cell = document.createElement("td");
    cell.textContent = text;
    cell.dataset.label = labels[column].textContent;  // which a phone shows beside it
    return cell;
  }));
  if (face.cosine !== null) {
    const meter = document.createElement("meter");
    const limit = face.threshold;
    Object.assign(meter, { min: 0, max: 1, low: limit / 2, high: limit, optimum: 0 });
    meter.value = Math.max(0, face.cosine);
    const numbers = document.createElement("div");
    numbers.className = "numbers";
    numbers.textContent = `${face.cosine.toFixed(2)}, limit ${limit.toFixed(2)}`;
    line.lastChild.append(numbers, meter);
  }
  return line;
}

function mark(face, index) {
  const label = document.createElement("span");
  label.className = "mark";
  label.textContent = index + 1;
  label.style.left = `${50 * (face.box[0] + face.box[2])}%`;
  label.style.top = `${100 * Math.max(face.box[1], 0.06)}%`;
  return label;
}

at("form").addEventListener("submit", start);
at("file").addEventListener("change", () => choose(at("file").files[0]));
at("other").addEventListener("click", () => { at("seed").value = Number(at("seed").value) + 1; });
at("strength").addEventListener("input", () => {
  at("degrees").textContent = `${at("strength").value}°`;
});
at("slider").addEventListener("input", () => {
  at("compare").style.setProperty("--shown", `${at("slider").value}%`);
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  // On the whole window: a photo dropped beside the box would leave the page for it.
  window.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && !at("file").disabled) choose(event.dataTransfer.files[0]);
  });
}
