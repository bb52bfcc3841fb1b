"""What dwv makes of our results: a second viewer, which shares no code with OHIF (docs/viewers.md)."""

from __future__ import annotations

import numpy as np
import pytest

from tests.viewer.conftest import Seen
from tests.viewer.shot import overlay_share
from tests.viewer.test_ohif import clean

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


def test_the_key_image_is_shown_in_colour(seen: Seen) -> None:
    assert clean(seen, "dwv_key_image").is_coloured.sum() > 1_000


def test_the_heatmap_scrolls_and_is_in_colour(seen: Seen) -> None:
    first, later = clean(seen, "dwv_heatmap"), clean(seen, "dwv_heatmap_later")
    assert later.is_coloured.sum() > 300
    assert (first.pixels != later.pixels).any(axis=2).sum() > 1_000


@pytest.mark.parametrize("kind", ["captures", "mip"])
def test_an_optional_picture_is_shown(seen: Seen, kind: str) -> None:
    assert (clean(seen, f"dwv_{kind}").pixels.max(axis=2) > 40).sum() > 10_000
