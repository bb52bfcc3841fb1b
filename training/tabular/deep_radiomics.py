"""Deep-learning radiomics: frozen ResNet features → choice of features → classifier → fusion with values.

What systems A2 (``recipes.dlr``) and A4 (``recipes.dfsigm``) share; each recipe says what its paper gives.  Everything
that learns from labels sees the training rows of one fold only; the frozen network sees no label at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from inference.facts import Refused
from inference.model.bundle import save_bundle
from inference.model.head import STEPWISE, check_head
from inference.model.inputs import settings_digest
from inference.model.served import Range, Served
from inference.model.slices import AxialSlices
from inference.model.values import ValueSpec, width
from training.prepared import Parts, Prepared, Rows
from training.recipe import Conditions, Progress, Release, Stopped
from training.release.calibrate import Calibration, calibrate, feature_statistics, ranges
from training.release.model_card import model_card, statement
from training.tabular.choice import ChoiceSettings, ImageModel, choose, inner_folds
from training.tabular.classifiers import STORES_PATIENTS
from training.tabular.deep_features import Backbone, deep_features, load_backbone
from training.tabular.export import export_head
from training.tabular.fusion import Linear, fit_linear, out_of_fold_linear
from training.tabular.system import DeepRadiomicsSettings, Part, System
from training.tabular.values import column_names, encode_rows, fit_specs

LOOK = "slices"
FEW_VALIDATION = 100  # fewer subjects than this do not calibrate alone (methods D5)
Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fitted:
    """What one fit learnt.  ``features``: pooled ones of training and validation rows, ``labels`` of the training."""

    backbone: Backbone | None
    image: ImageModel | None
    fusion: Linear | None
    specs: tuple[ValueSpec, ...]
    calibration: Calibration
    ranges: Mapping[str, Range]
    features: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
    labels: npt.NDArray[np.int8]


class DeepRadiomics:
    """One variant: the image model, the values alone, or both."""

    def __init__(self, settings: DeepRadiomicsSettings, variant: str, system: System, look: AxialSlices) -> None:
        self.settings, self.variant, self.system, self.look = settings, variant, system, look
        self.part: Part = system.parts[variant]
        self.facts: dict[str, JsonValue] = {}
        self.costs: dict[str, JsonValue] = {}
        self._cache = Path()
        self._fitted: Fitted | None = None

    def fit(self, data: Prepared, parts: Parts, conditions: Conditions) -> Self:
        """As ``training.recipe.Estimator``; also ``backbone-file``, ``backbone-weights``, ``recipe-values-missing``."""
        self._cache, began = conditions.folder.parent, perf_counter()
        labels = data.labels[parts.train]
        specs = self._specs(data, parts.train)
        backbone, features = self._image_features(data, conditions)
        seen, image = perf_counter(), None
        if self.part != "clinical":
            image = self._choose(data, parts.train, features, conditions)
        vectors = encode_rows(data, parts.train, specs)
        fusion, own = self._fuse(image, vectors, labels, data, parts.train, conditions.seed)
        held = _scores(image, fusion, features[parts.validation], encode_rows(data, parts.validation, specs))
        self._fitted = Fitted(
            backbone=backbone,
            image=image,
            fusion=fusion,
            specs=specs,
            calibration=_calibrated(own, labels, held, data.labels[parts.validation]),
            ranges=ranges(data, parts.train),
            features=(features[parts.train], features[parts.validation]),
            labels=labels,
        )
        self.facts = self._facts(self._fitted, vectors)
        self.costs = {"image_feature_seconds": round(seen - began, 2), "fit_seconds": round(perf_counter() - seen, 2)}
        return self

    def predict_proba(self, data: Prepared, rows: Rows) -> Array:
        """Calibrated probability of the label, (len(rows),)."""
        fitted = self._known()
        features = np.empty((len(rows), 0), np.float32)
        if fitted.backbone is not None:
            features = self._features(data, fitted.backbone)[rows]
        scores = _scores(fitted.image, fitted.fusion, features, encode_rows(data, rows, fitted.specs))
        return fitted.calibration.probability(scores)

    def save_bundle(self, out: Path, release: Release) -> str:
        """The frozen network, one ONNX head, and the statistics of the training's features."""
        fitted = self._known()
        if fitted.backbone is None or fitted.image is None:
            raise Refused(
                "recipe-variant-not-served",
                f"The model '{self.variant}' looks at no image, and the node serves none such; serve "
                f"{next(iter(self.system.parts))}.",
            )
        head = export_head(self.settings.network.features, width(fitted.specs), fitted.image, fitted.fusion)
        served = Served(
            name=release.name,
            version=release.version,
            statement=statement(self.system.title, release),
            demonstration=release.demonstration,
            input=self.look,
            input_digest=settings_digest(self.look),
            network=self.settings.network.model_dump(mode="json"),
            members=1,
            heads=1,
            temperature=fitted.calibration.temperature,
            threshold=fitted.calibration.threshold,
            conformal_quantile=fitted.calibration.conformal_quantile,
            ranges=dict(fitted.ranges),
            evaluation=release.evaluation,
            training=dict(release.manifest),
            images=self.system.images,
            values=fitted.specs,
            **self.system.served,
        )
        statistics = feature_statistics(fitted.features[0], fitted.labels, fitted.features[1])
        return save_bundle(
            out,
            served,
            [fitted.backbone.weights],
            None if statistics is None else statistics.arrays(),
            model_card=self._card(fitted.backbone, fitted.image, head, release),
            heads=[head],
        )

    def _known(self) -> Fitted:
        if self._fitted is None:
            raise RuntimeError("fit comes first")
        return self._fitted

    def _specs(self, data: Prepared, rows: Rows) -> tuple[ValueSpec, ...]:
        names = [] if self.part == "image" else list(self.settings.values)
        needed = [name for name in self.system.needed if self.part != "clinical"]
        specs = fit_specs(
            data, rows, [n for n in names if n not in needed], log=self.system.skewed, units=self.system.units
        )
        specs += fit_specs(data, rows, needed, missing="refused", units=self.system.units)
        if self.part != "image" and not specs:
            raise Refused(
                "recipe-values-missing",
                f"The model '{self.variant}' needs clinical values, and the table has none of {', '.join(names)}; add "
                "columns, or name yours in the setting 'values'.",
            )
        return specs

    def _image_features(
        self, data: Prepared, conditions: Conditions
    ) -> tuple[Backbone | None, npt.NDArray[np.float32]]:
        if self.part == "clinical":
            return None, np.empty((len(data), 0), np.float32)
        backbone = load_backbone(self.settings.weights, self.settings.network, pixels=self.settings.pixels, seed=0)
        return backbone, self._features(data, backbone, conditions)

    def _features(
        self, data: Prepared, backbone: Backbone, conditions: Conditions | None = None
    ) -> npt.NDArray[np.float32]:
        """Of all rows (n, k); made once for a cohort and a network."""

        def between(done: int, total: int) -> None:
            if conditions is not None:
                _pause(conditions, Progress(done, total, "image features"))

        return deep_features(
            data.inputs[LOOK],
            backbone,
            digest=f"{data.digest} {settings_digest(self.look)}" if data.digest else "",
            cache=self._cache,
            threads=conditions.threads if conditions else 1,
            device=conditions.device if conditions else "cpu",
            between=between,
        )

    def _choose(
        self, data: Prepared, rows: Rows, features: npt.NDArray[np.float32], conditions: Conditions
    ) -> ImageModel:
        how = ChoiceSettings(
            candidates=self.settings.classifiers,
            most=self.settings.most_features or max(1, len(rows) // 10),
            store_patients=self.settings.store_patients,
            seed=conditions.seed,
        )
        return choose(
            features[rows],
            data.labels[rows],
            [data.patients[row] for row in rows],
            how,
            lambda done, total: _pause(conditions, Progress(done, total, "choice of features and classifier")),
        )

    def _fuse(
        self,
        image: ImageModel | None,
        vectors: npt.NDArray[np.float32],
        labels: npt.NDArray[np.int8],
        data: Prepared,
        rows: Rows,
        seed: int,
    ) -> tuple[Linear | None, Array]:
        """The regression with values, where there is one, and the out-of-fold scores of the training rows."""
        if self.part == "image" and image is not None:
            return None, image.out_of_fold
        logit = image.out_of_fold if image else None
        folds = image.folds if image else inner_folds(labels, [data.patients[row] for row in rows], seed)
        return fit_linear(logit, vectors, labels), out_of_fold_linear(logit, vectors, labels, folds)

    def _facts(self, fitted: Fitted, vectors: npt.NDArray[np.float32]) -> dict[str, JsonValue]:
        facts: dict[str, JsonValue] = {**fitted.calibration.facts(), "values": [spec.name for spec in fitted.specs]}
        if fitted.backbone:
            facts["weights"] = fitted.backbone.card
        if fitted.image:
            facts |= fitted.image.facts()
        if fitted.fusion:
            names = (*(["image logit"] if fitted.fusion.image else []), *column_names(fitted.specs))
            facts["fusion"] = {n: round(w, 4) for n, w in zip(names, fitted.fusion.weights, strict=True)}
            sizes = fitted.fusion.importance(fitted.image.out_of_fold if fitted.image else None, vectors)
            ranked = sorted(zip(names, sizes, strict=True), key=lambda one: -one[1])
            facts["mean SHAP size (logit)"] = {name: round(float(size), 4) for name, size in ranked}
        return facts

    def _card(self, backbone: Backbone, image: ImageModel, head: bytes, release: Release) -> str:
        stepwise = bool(check_head(head, "head") & STEPWISE)
        stored = image.name in STORES_PATIENTS
        lines = [
            f"- Weights of the image network: {backbone.card}.",
            f"- Classifier: {image.name}, kept of {len(image.inner_aucs)} by inner AUC; {len(image.selection.columns)} "
            "features.",
            f"- Heatmap: {'none, this classifier has no gradient' if stepwise else 'Grad-CAM of the last stage'}.",
            "- No spread between members: there is one, so the probability has no interval.",
            f"- The file of the classifier holds {'' if stored else 'no '}feature vectors of training patients; the "
            "statistics of applicability hold some, scaled to length 1.",
        ]
        shown = self.settings.model_copy(update={"weights": self.settings.weights and self.settings.weights.name})
        more = replace(release, card="\n".join([*lines, "", release.card]))
        return model_card(self.system.title, self.system.source, self.variant, shown, more)


def _scores(
    image: ImageModel | None,
    fusion: Linear | None,
    features: npt.NDArray[np.float32],
    vectors: npt.NDArray[np.float32],
) -> Array:
    """Logits (n,), not calibrated."""
    logit = image.scores(features) if image else None
    if fusion is not None:
        return fusion.scores(logit, vectors)
    assert logit is not None  # a variant has one or the other
    return logit


def _calibrated(
    own: Array, labels: npt.NDArray[np.int8], held: Array, held_labels: npt.NDArray[np.int8]
) -> Calibration:
    """On the validation rows; where they are few, with the training rows' out-of-fold scores (methods D5)."""
    if len(held) >= FEW_VALIDATION:
        return calibrate(held, held_labels)
    return calibrate(np.concatenate([own, held]), np.concatenate([labels, held_labels]))


def _pause(conditions: Conditions, progress: Progress) -> None:
    conditions.tell(progress)
    if conditions.stop():
        raise Stopped
