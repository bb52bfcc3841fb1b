"""Clinical values of a cohort: learnt from training rows alone, encoded as the node encodes them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.facts import Refused
from inference.model.values import Value, encode, out_of_training_range, width
from training.prepared import Prepared
from training.tabular.values import column_names, encode_rows, fit_specs

TRAIN = np.arange(4)


def cohort(**values: tuple[Value | None, ...]) -> Prepared:
    count = len(next(iter(values.values())))
    names = tuple(f"P{i}" for i in range(count))
    return Prepared(names, names, ("c",) * count, np.zeros(count, np.int8), {}, values)


AGE = (50.0, 60.0, 70.0, 80.0, 500.0, None)
STAGE = ("II", "I", "II", "II", "IV", "I")
CEA = (1.0, 10.0, None, 100.0, 1000.0, 0.0)


def test_numbers_come_from_the_training_rows_alone() -> None:
    (age,) = fit_specs(cohort(age=AGE), TRAIN, ["age"], units={"age": "a"})
    assert (age.median, age.mean, age.low, age.high, age.unit) == (
        65.0,
        65.0,
        42.5,
        87.5,
        "a",
    )  # a quarter beyond 50 to 80
    assert age.sd == pytest.approx(np.std(AGE[:4]))
    assert age.source == "header"
    (cea,) = fit_specs(cohort(cea=CEA), TRAIN, ["cea"], log=["cea"])
    assert cea.transform == "log"
    assert cea.mean == pytest.approx(math.log(10))
    assert cea.median == 10.0


def test_what_counts_as_like_the_training_is_its_range_and_a_quarter_more_on_the_models_scale() -> None:
    """So few rows do not hold the smallest and largest patient there is."""
    (cea,) = fit_specs(cohort(cea=CEA), TRAIN, ["cea"], log=["cea"])  # 1 to 100: two decades
    assert (cea.low, cea.high) == (pytest.approx(10**-0.5), pytest.approx(10**2.5))
    assert out_of_training_range({"cea": 300.0}, [cea]) == ()
    (told,) = out_of_training_range({"cea": 400.0}, [cea])
    assert "CEA lies far outside the training data" in told
    assert "400" not in told
    (small,) = fit_specs(cohort(cea=(1.0, 2.0, 9.0, 5.0)), TRAIN, ["cea"])
    assert (small.low, small.high) == (0.0, 11.0)  # no amount is negative


def test_levels_are_of_the_whole_table_and_in_the_order_of_training() -> None:
    data = cohort(stage=STAGE)
    (stage,) = fit_specs(data, TRAIN, ["stage"])
    assert stage.levels == ("II", "I", "IV")
    assert encode_rows(data, np.arange(6), [stage]).tolist() == [[0, 0], [1, 0], [0, 0], [0, 0], [0, 1], [1, 0]]
    assert column_names([stage]) == ("stage = I", "stage = IV")


def test_what_may_be_missing_is_what_the_cohort_lacks_somewhere() -> None:
    specs = fit_specs(cohort(age=AGE, stage=STAGE, cea=CEA), TRAIN, ["age", "stage", "cea", "absent"])
    assert {s.name: s.missing for s in specs} == {"age": "filled", "stage": "refused", "cea": "filled"}
    assert {s.missing for s in fit_specs(cohort(age=AGE), TRAIN, ["age"], missing="refused")} == {"refused"}
    assert column_names(specs)[-2:] == ("age missing", "cea missing")


def test_a_study_without_a_label_does_not_decide_what_may_be_missing() -> None:
    """Sex is missing in an unlabelled row only, age also in a labelled one that is held out."""
    data = cohort(age=(50.0, 60.0, 70.0, 80.0, None, None), sex=("F", "M", "F", "M", "F", None))
    data = replace(data, labels=np.array([0, 1, 0, 1, 1, -1], np.int8))
    specs = fit_specs(data, TRAIN, ["age", "sex"])
    assert {s.name: s.missing for s in specs} == {"age": "filled", "sex": "refused"}
    assert np.isfinite(encode_rows(data, np.arange(5), specs)).all()


def test_a_logarithm_is_not_taken_where_a_training_value_is_not_above_0() -> None:
    (cea,) = fit_specs(cohort(cea=CEA), np.arange(6), ["cea"], log=["cea"])
    assert cea.transform == "none"


def test_a_column_that_training_never_saw_is_left_out_and_a_constant_one_is_harmless() -> None:
    data = cohort(late=(None, None, None, None, 3.0, 4.0), same=(2.0,) * 6)
    specs = fit_specs(data, TRAIN, ["late", "same"])
    assert [s.name for s in specs] == ["same"]
    assert encode_rows(data, TRAIN, specs).tolist() == [[0.0]] * 4


def test_what_cannot_be_encoded_names_its_study() -> None:
    data = cohort(cea=CEA)
    specs = fit_specs(data, TRAIN, ["cea"], log=["cea"])
    with pytest.raises(Refused, match="In study P5: ") as refusal:
        encode_rows(data, np.array([5]), specs)
    assert refusal.value.code == "value-not-usable"
    with pytest.raises(Refused) as refusal:
        fit_specs(cohort(mixed=(1.0, "two", 3.0, 4.0)), TRAIN, ["mixed"])
    assert refusal.value.code == "values-mixed"


@given(
    st.lists(
        st.tuples(
            st.none() | st.floats(-1e6, 1e6), st.none() | st.floats(1e-3, 1e6), st.none() | st.sampled_from("abc")
        ),
        min_size=5,
        max_size=12,
    )
)
def test_rows_are_encoded_as_the_node_encodes_them(rows: list[tuple[Value | None, ...]]) -> None:
    age, cea, sex = zip(*rows, strict=True)
    data = cohort(age=age, cea=cea, sex=sex)
    specs = fit_specs(data, TRAIN, ["age", "cea", "sex"], log=["cea"])
    encoded = encode_rows(data, np.arange(len(rows)), specs)
    assert encoded.shape == (len(rows), width(specs))
    assert len(column_names(specs)) == width(specs)
    assert np.isfinite(encoded).all()
    for row, vector in enumerate(encoded):
        assert np.array_equal(vector, encode(data.values_of(row), specs).vector)
