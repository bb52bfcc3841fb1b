"""What dwv makes of our results: a second viewer, which shares no code with OHIF (docs/viewers.md)."""

from __future__ import annotations

import numpy as np
import pytest

from tests.viewer.conftest import Seen
from tests.viewer.shot import DWV_VIEW, overlay_share
from tests.viewer.test_ohif import ALIKE, clean

pytestmark = [pytest.mark.peers, pytest.mark.slow, pytest.mark.timeout(1200)]


def test_the_segmentation_lies_over_its_voxels_and_no_others(seen: Seen) -> None:
    shot, segments = clean(seen, "dwv_seg"), seen.stage.segments()
    k = seen.stage.slice_of(seen.stage.contour()[1], segments)
    assert overlay_share(shot, segments.affine, segments.array, k) > 0.97


def test_the_report_for_viewers_draws_its_contour_where_the_lesion_is(seen: Seen) -> None:
    shot, (contour, image) = clean(seen, "dwv_sr_viewer"), seen.stage.contour()
    assert shot.share_drawn(contour) > 0.95
    sideways = 2 * float(image.PixelSpacing[1]) * np.array(image.ImageOrientationPatient[:3], float)
    assert shot.share_drawn(contour + sideways) < 0.8


def test_the_report_for_viewers_says_its_texts(seen: Seen) -> None:
    text = clean(seen, "dwv_sr_viewer").text
    assert "Lesion 1: drawn" in text
    assert "Finding: Lesion" in text


@pytest.mark.parametrize("kind", ["key_image", "captures", "mip"])
def test_a_picture_is_shown_as_it_is(seen: Seen, kind: str) -> None:
    shot, pixels = clean(seen, f"dwv_{kind}"), seen.stage.picture(kind)
    assert shot.difference(pixels.reshape(-1, *pixels.shape[-3:])[0], DWV_VIEW) < ALIKE


def test_the_heatmap_shows_the_frame_asked_for(seen: Seen) -> None:
    shot, frames = clean(seen, "dwv_heatmap"), seen.stage.picture("heatmap")
    assert shot.difference(frames[seen.stage.hottest_frame()], DWV_VIEW) < ALIKE
    assert shot.nearest_frame(frames, DWV_VIEW) == seen.stage.hottest_frame()
