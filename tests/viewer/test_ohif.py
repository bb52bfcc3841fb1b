"""What OHIF makes of our results, in headless Chromium, on DICOMweb from a real Orthanc.

`make viewer-setup` installs it.  The pictures lie in ``.cache/viewer/shots``, our files in ``.cache/viewer/results``:
look at them.  ``VIEWER_STUDY`` may name a folder with a study of your own instead of the phantom
(`make test-viewer VIEWER_STUDY=FOLDER`).  docs/viewers.md says what is to be seen.
"""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dicom_node.report.readback.read import read_result
from tests.viewer.conftest import Seen
from tests.viewer.shot import OHIF_VIEW, Shot, overlay_share
from tests.viewer.stage import SHOTS

pytestmark = [pytest.mark.peers, pytest.mark.slow, pytest.mark.timeout(1200)]
ALIKE = 12  # mean difference of the values, 0 to 255: OHIF writes its labels over the picture and smooths it


def clean(seen: Seen, name: str) -> Shot:
    """The page, which opened without an error."""
    if name not in seen.shots:
        pytest.skip(f"no {name} in this result set")
    shot = seen.shots[name]
    assert not shot.faults, f"{name}: {shot.faults}; the page said: {shot.text[:500]}"
    return shot


def test_the_study_is_listed(seen: Seen) -> None:
    text = clean(seen, "study_list").text  # that the patient is there was waited for
    assert "SEG" in text
    assert "SR" in text


def test_the_report_for_viewers_draws_its_contour_where_the_lesion_is(seen: Seen) -> None:
    shot, (contour, image) = clean(seen, "sr_viewer"), seen.stage.contour()
    assert image.SOPInstanceUID == seen.stage.image_shown(shot).SOPInstanceUID  # it went to the slice
    assert shot.share_drawn(contour) > 0.95
    sideways = 2 * float(image.PixelSpacing[1]) * np.array(image.ImageOrientationPatient[:3], float)
    assert shot.share_drawn(contour + sideways) < 0.8  # so the check tells two voxels apart


def test_the_numbers_beside_the_contour_are_told_apart_by_their_names(seen: Seen) -> None:
    text = clean(seen, "sr_viewer").text
    prediction = read_result(seen.stage.results["sr"][0]).prediction
    assert prediction is not None
    assert "VIEWER_STUDY" in os.environ or prediction.applicability != "outside"  # the model applies to the phantom
    # OHIF shows no verdict beside it: where the model does not apply, as on a real patient, there is no number either
    assert ("Predicted probability" in text) == (prediction.applicability != "outside")
    assert "SUVmax" in text
    assert "SUVmean" in text


@pytest.mark.parametrize("kind", ["seg", "label_map"])
def test_a_segmentation_lies_over_its_voxels_and_no_others(seen: Seen, kind: str) -> None:
    shot, segments = clean(seen, kind), seen.stage.segments(kind)
    k = seen.stage.slice_of(seen.stage.image_shown(shot), segments)
    assert segments.array[k].any(), "OHIF went to a slice without a lesion"
    assert overlay_share(shot, segments.affine, segments.array, k) > 0.97


def test_the_structure_set_draws_its_contour_where_the_lesion_is(seen: Seen) -> None:
    assert clean(seen, "rtstruct").share_drawn(seen.stage.contour()[0]) > 0.9


def test_the_parametric_map_is_coloured_at_the_lesion(seen: Seen) -> None:
    shot, (contour, _) = clean(seen, "parametric_map"), seen.stage.contour()
    row, column = shot.on_page(contour[:-1].mean(axis=0, keepdims=True))[0]
    assert shot.is_coloured[row - 3 : row + 4, column - 3 : column + 4].all()


@pytest.mark.parametrize("kind", ["key_image", "captures", "mip"])
def test_a_picture_is_shown_as_it_is(seen: Seen, kind: str) -> None:
    shot, pixels = clean(seen, kind), seen.stage.picture(kind)
    assert shot.difference(pixels.reshape(-1, *pixels.shape[-3:])[0], OHIF_VIEW) < ALIKE


def test_the_heatmap_scrolls_frame_by_frame(seen: Seen) -> None:
    shot, frames = clean(seen, "heatmap"), seen.stage.picture("heatmap")
    assert shot.difference(frames[seen.stage.hottest_frame()], OHIF_VIEW) < ALIKE
    assert shot.nearest_frame(frames, OHIF_VIEW) == seen.stage.hottest_frame()
    first = replace(shot, pixels=np.asarray(Image.open(SHOTS / "heatmap_first.png").convert("RGB")))
    assert first.nearest_frame(frames, OHIF_VIEW) == 0


@pytest.mark.parametrize("kind", ["ko", "pdf"])
def test_an_object_without_a_picture_of_its_own_opens_without_an_error(seen: Seen, kind: str) -> None:
    clean(seen, kind)
