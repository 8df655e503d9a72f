"""Tracks have no holes, begin before the detector is sure, and do not tremble."""

import numpy as np
import pytest

from id2face_jax.anonymize.video import tracks
from id2face_jax.anonymize.video.tracks import Sighting
from id2face_jax.faces.detect import Detection

ANN, BOB = np.eye(2, 8, dtype=np.float32)


def sighting(x, score=0.9, who=ANN, y=50.0, size=40.0):
    box = np.float32([x, y, x + size, y + size])
    points = np.float32([[x + 10 + 4 * i, y + 10 + 4 * i] for i in range(5)])
    return Sighting(Detection(box, score, points), who)


def link(frames, max_gap=5, least_cosine=0.2):
    return tracks.link(frames, max_gap, least_cosine)


def test_moving_face_is_one_track():
    (track,) = link([[sighting(10.0 + 3 * i)] for i in range(20)])
    assert (track.start, track.end) == (0, 20)


def test_two_faces_are_two_tracks_that_keep_their_sides():
    frames = [[sighting(200.0 - i, who=BOB), sighting(10.0 + i)] for i in range(9)]
    first, second = link(frames)
    assert first.start == second.start == 0
    for track in (first, second):
        assert len({s.embedding.tobytes() for s in track.sightings}) == 1


def test_lost_face_is_filled_in_on_a_straight_line():
    frames = [[sighting(10.0 + 8 * i)] for i in range(12)]
    frames[4] = frames[5] = frames[6] = []
    (track,) = link(frames)
    found = tracks.filled(track)
    assert len(found) == 12
    for index, detection in enumerate(found):
        assert detection.box[0] == pytest.approx(10 + 8 * index, abs=0.01)
        assert (detection.score == 0) == (index in (4, 5, 6))


def test_long_absence_ends_a_track():
    frames = [[sighting(10.0)]] * 3 + [[]] * 6 + [[sighting(10.0)]] * 3
    assert [(t.start, t.end) for t in link(frames)] == [(0, 3), (9, 12)]


def test_far_jump_is_another_face():
    frames = [[sighting(10.0)]] * 3 + [[sighting(400.0)]] * 3
    assert len(link(frames)) == 2


def test_doubtful_sightings_count_beside_a_sure_one():
    scores = [0.12, 0.12, 0.15, 0.5, 0.12, 0.12]
    (track,) = link([[sighting(10.0, score)] for score in scores])
    assert (track.start, track.end, track.best) == (0, 6, 3)
    (track,) = link([[sighting(10.0, 0.12)]] * 6)
    assert track.score == 0.12


def test_cut_to_another_person_at_the_same_place():
    frames = [[sighting(10.0)]] * 4 + [[sighting(11.0, who=BOB)]] * 4
    assert [(t.start, t.end) for t in link(frames)] == [(0, 4), (4, 8)]


def test_sighting_without_embedding_continues_a_track():
    frames = [[sighting(10.0)], [sighting(10.0, who=None)], [sighting(10.0)]]
    (track,) = link(frames)
    np.testing.assert_allclose(track.embedding, ANN)
    (unknown,) = link([[sighting(10.0, who=None)]])
    assert unknown.embedding is None


def test_best_sighting_is_one_with_an_embedding():
    frames = [[sighting(10.0, 0.9, who=None)], [sighting(10.0, 0.4)], [sighting(10.0)]]
    assert link(frames)[0].best == 2
    assert link(frames[:2])[0].best == 1
    assert link(frames[:1])[0].best == 0


def test_points_are_steadier_but_never_far_from_where_they_were():
    rng = np.random.default_rng(0)
    frames = [[sighting(float(100 + rng.normal()))] for _ in range(60)]
    (track,) = link(frames)
    before = np.stack([s.detection.landmarks for s in track.sightings])
    after = np.stack([d.landmarks for d in tracks.filled(track)])
    assert np.diff(after, axis=0).std() < 0.5 * np.diff(before, axis=0).std()
    frames = [[sighting(10.0 if i < 10 else 25.0)] for i in range(20)]
    (track,) = link(frames)
    before = np.stack([s.detection.landmarks for s in track.sightings])
    after = np.stack([d.landmarks for d in tracks.filled(track)])
    assert np.abs(after - before).max() <= 40 * 0.04 + 1e-3
