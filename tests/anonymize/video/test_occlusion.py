"""A lost face's place stays covered until there is a reason to stop."""

import numpy as np
import pytest

from id2face_jax.anonymize.pipeline.canvas import Canvas
from id2face_jax.anonymize.video import occlusion, tracks
from tests.anonymize.video.test_tracks import BOB, link, sighting

RATE, NUM = 10.0, 100
ANN_AND_BOB = object(), object()


def covers(linked, people=None, starts=(0,), hold=None, size=(300, 200)):
    line = occlusion.Timeline(NUM, RATE, size, starts, hold)
    smooth = [tracks.filled(track) for track in linked]
    people = people or [object() for _ in linked]
    return occlusion.covers(linked, smooth, people, line)


def spans(found):
    return [(cover.start, cover.stop) for cover in found]


def shown(start, stop, x=100.0, **options):
    """Frames in which a face is seen from `start` to before `stop`."""
    return [[sighting(x, **options)] if start <= i < stop else [] for i in range(NUM)]


def test_sure_face_is_covered_a_second_before_and_until_the_end():
    (before, after) = covers(link(shown(30, 50)))
    assert spans([before, after]) == [(20, 30), (50, NUM)]
    assert before.scale(29, RATE) == pytest.approx(1.1)
    assert after.scale(50, RATE) == pytest.approx(1.1)
    assert after.scale(90, RATE) == 2.0


def test_doubtful_or_short_sight_is_covered_for_a_second():
    assert spans(covers(link(shown(30, 50, score=0.4)))) == [(20, 30), (50, 60)]
    assert spans(covers(link(shown(30, 32)))) == [(20, 30), (32, 42)]


def test_covers_end_with_the_scene_and_the_video():
    assert spans(covers(link(shown(30, 50)), starts=[0, 28, 70])) == [
        *[(28, 30), (50, 70)]
    ]
    assert spans(covers(link(shown(0, NUM)))) == []


def test_cover_ends_where_its_person_is_found_again():
    frames = [a + b for a, b in zip(shown(10, 20), shown(60, 70, 20.0), strict=True)]
    linked = link(frames)
    person = object()
    found = covers(linked, people=[person, person])
    assert (20, 60) in spans(found) and (50, 60) in spans(found)
    # Somebody else, elsewhere, is no reason to stop; but in its place is one.
    assert (20, NUM) in spans(covers(linked, people=ANN_AND_BOB))
    frames = [
        a + b for a, b in zip(shown(10, 20), shown(60, 70, 130.0, who=BOB), strict=True)
    ]
    assert (20, 60) in spans(covers(link(frames), people=ANN_AND_BOB))


def test_face_that_leaves_the_picture_is_not_waited_for():
    moving = [[sighting(250.0 - 5 * i)] if i < 52 else [] for i in range(NUM)]
    assert spans(covers(link(moving))) == [(52, 54)]
    still = [[sighting(0.0)] if i < 52 else [] for i in range(NUM)]
    assert spans(covers(link(still))) == [(52, NUM)]
    entering = [[sighting(5.0 * i - 200)] if i >= 40 else [] for i in range(NUM)]
    assert spans(covers(link(entering), size=(9000, 200))) == [(38, 40)]


def test_hold_bounds_every_cover():
    assert spans(covers(link(shown(30, 50)), hold=0.5)) == [(25, 30), (50, 55)]
    assert covers(link(shown(30, 50)), hold=0.0) == []


def test_cut_starts_a_scene_and_a_flash_or_a_pan_does_not():
    def of(levels):
        frames = [np.full((36, 64, 3), level, np.uint8) for level in levels]
        return occlusion.scenes([occlusion.thumbnail(frame) for frame in frames])

    assert of([20] * 5 + [120] * 5) == [0, 5]
    assert of([20] * 5 + [250] + [20] * 5) == [0]
    assert of(range(0, 250, 20)) == [0]
    assert of([20, 20, 120]) == [0, 2]


def test_cover_leaves_what_was_painted_and_no_face_below():
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    work = Canvas(image)
    work.hide(0, np.float32([20, 40, 50, 80]), solid=True)
    painted = work.current.copy()
    box = np.float32([40, 30, 90, 90])
    work.cover(box, 1.0)
    np.testing.assert_array_equal(work.current[45:75, 25:45], painted[45:75, 25:45])
    inside = np.s_[35:85, 62:88]
    assert work.current[inside].std() < 0.5 * image[inside].std()
    work.cover(np.float32([-90, -90, -50, -50]), 2.0)  # outside of the picture


def test_cover_ends_without_an_edge_where_a_face_was_painted():
    work = Canvas(np.full((400, 400, 3), 200, np.uint8))
    work.hide(0, np.float32([100, 100, 200, 200]))
    work.current[:] = 0  # as if a new face, black, filled the window
    work.current[:, 234:] = 250  # the window ends there
    work.cover(np.float32([200, 120, 280, 180]), 1.0)
    margin = work.current[150, 228:234, 0].astype(int)
    assert not work.current[150, :228].any() and margin[-1] > 30
    assert np.all(np.diff(margin) >= 0) and np.diff(margin).max() < 0.6 * margin[-1]
