"""What analysis leaves behind for the study page: the slices of every volume that it assembled, and what the networks looked at.

Beside the way to the flag: slices are written after the decision is committed, maps while no other study waits. A failure costs
the picture, never the study.
"""

from __future__ import annotations

import logging
import pickle
import tempfile
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from triage_node.blobs.places import Blobs
from triage_node.bundle.load import Bundle
from triage_node.detection.gradcam import GradCam
from triage_node.detection.preprocess import network_input, on_grid
from triage_node.domain.display import HeatMap
from triage_node.domain.errors import BlobsAway
from triage_node.domain.finding import FINDINGS, SUBTYPES, Detection
from triage_node.domain.volume import Volume
from triage_node.prognosis.predictor import ImagePredictor, Salient
from triage_node.prognosis.salient_slices import on_slices
from triage_node.report import display

log = logging.getLogger(__name__)

LOOKED_AT = 12
"""Slices, or blocks of thin ones, that get a Grad-CAM: the likeliest. Each costs a run of the network."""
WAITING = 64
"""Volumes that are kept until there is time, on disk: of more, the oldest goes without maps."""
_TASKS = ("ich", *SUBTYPES)
_IN_WORDS = {"volume": "hematoma volume", "outcome": "outcome", "prognosis": "outcome", "gcs": "GCS"}
"""Tasks of the prognosis networks."""

Made = tuple[HeatMap, NDArray[np.uint8]]
_Found = tuple[list[Made], list[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """`file`: its volume and its detection, pickled."""

    study_instance_uid: str
    revision: int
    file: BinaryIO


class Displays:
    """Writes slices at once and maps when there is time."""

    def __init__(self, blobs: Blobs, built_folder: Path, bundle: Bundle, predictors: Sequence[ImagePredictor]) -> None:
        self._blobs, self._folder = blobs, built_folder
        self._predictors = predictors
        self._waiting: deque[_Waiting] = deque()
        self._at_work: Iterator[None] | None = None
        try:
            self._cam: GradCam | str = GradCam(bundle)
        except LookupError as error:
            self._cam = str(error)

    def keep(self, study_instance_uid: str, volume: Volume, detection: Detection | None, revision: int) -> None:
        """Put the slices of a study in place of earlier ones. `revision` 0: nothing was detected. Raises: BlobsAway."""
        path = display.path_of(self._folder, study_instance_uid)
        try:
            display.write(path, volume, detection, revision)
        except OSError as error:
            log.warning("event=no_slices study=%s %s", study_instance_uid, error.strerror)
            self.forget(study_instance_uid)  # what lies there belongs to an earlier result
            return
        self._blobs.publish(path)

    def forget(self, study_instance_uid: str) -> None:
        """There is nothing to show of this study. Raises: BlobsAway."""
        for part in display.parts(display.path_of(self._folder, study_instance_uid)):
            self._blobs.withdraw(part)

    def explain_later(self, study_instance_uid: str, revision: int, volume: Volume, detection: Detection) -> None:
        """Make the maps of a result when there is time. Until then it lies in a file without a name, which ends with this process."""
        try:
            file = tempfile.TemporaryFile(dir=self._folder)
            pickle.dump((volume, detection), file, pickle.HIGHEST_PROTOCOL)
        except OSError as error:
            log.warning("event=no_maps study=%s %s", study_instance_uid, error.strerror)
            return
        self._waiting.append(_Waiting(study_instance_uid, revision, file))
        if len(self._waiting) > WAITING:
            oldest = self._waiting.popleft()
            oldest.file.close()
            with suppress(BlobsAway):
                self._write(oldest, [], [("Grad-CAM", "too many studies came at once")])

    def explain(self) -> bool:
        """One step of the maps of the study that waits longest, so that a study that comes waits for no more. False: none waits."""
        if self._at_work is None:
            if not self._waiting:
                return False
            self._at_work = self._steps(self._waiting.popleft())
        try:
            next(self._at_work)
        except StopIteration:
            self._at_work = None
        except Exception:  # whatever a network does: its study is analysed, told and reported already
            log.exception("event=no_maps")
            self._at_work = None
        return True

    def _steps(self, of: _Waiting) -> Iterator[None]:
        """Everything about one study; yields between any two things that take long."""
        with of.file as file:
            file.seek(0)
            volume, detection = pickle.load(file)  # our own: nobody else can open it
        maps, silent = yield from self._detection(volume, detection)
        for predictor in self._predictors:
            more, without = _prognosis(predictor, volume)
            maps, silent = maps + more, silent + without
            yield
        self._write(of, maps, silent)

    def _write(self, of: _Waiting, maps: Sequence[Made], silent: Sequence[tuple[str, str]]) -> None:
        path = display.path_of(self._folder, of.study_instance_uid)
        held = display.read(path)
        if held is not None and held.revision == of.revision:  # else its slices were removed, or read again, meanwhile
            display.write_maps(path, of.revision, maps, silent)
            self._blobs.publish(display.parts(path)[1])

    def _detection(self, volume: Volume, detection: Detection) -> Generator[None, None, _Found]:
        """Grad-CAM of the detector for each of its outputs, over the likeliest slices."""
        if isinstance(self._cam, str):
            return [], [("Grad-CAM of the detector", self._cam)]
        study = on_grid(volume)
        block = study.block_of_slice
        first = np.unique(block, return_index=True)[1]  # a block's slices share one probability
        order = np.sort(np.argsort(-detection.slice_probabilities[first], kind="stable")[:LOOKED_AT])
        inputs = network_input(study.hu, study.tissue_hu)
        seen = []
        for b in order:
            yield
            seen.append(self._cam.features(inputs[b : b + 1]))
        features = np.concatenate(seen)
        place = {int(b): i for i, b in enumerate(order)}
        of_slice = tuple(place.get(int(b), -1) for b in block)
        native = study.square
        box = (float(native.row), float(native.column), float(native.side), float(native.side))
        parts = "slices" if len(block) == len(first) else "blocks of slices"
        maps: list[Made] = []
        silent: list[tuple[str, str]] = []
        bundle = detection.bundle
        for output, task in enumerate(_TASKS):
            label = f"Grad-CAM: {FINDINGS[task].name}"
            heat = np.maximum(self._cam.of_features(features, output), 0)
            if not heat.max() > 0:
                silent.append((label, "nothing in the likeliest slices speaks for it"))
                continue
            made = HeatMap(
                task=task,
                label=label,
                what=f"what the picture head used, for the {len(order)} likeliest {parts}",
                by=f"{bundle.name} {bundle.version}",
                evidence=bundle.level(task).value,
                shape=(len(order), heat.shape[1], heat.shape[2]),
                of_slice=of_slice,
                box=box,
            )
            maps.append((made, _bytes(heat)))
        return maps, silent


def _prognosis(predictor: ImagePredictor, volume: Volume) -> _Found:
    """Grad-CAM of a prognosis network for each of its tasks."""
    if not isinstance(predictor, Salient):
        return [], [(predictor.label, "its network gives away no feature map")]
    found = predictor.saliency(volume)
    laid = on_slices(volume, found) if not isinstance(found, str) else found
    if isinstance(laid, str):
        return [], [(predictor.label, laid)]
    maps: list[Made] = []
    for task, heat in laid.maps.items():
        made = HeatMap(
            task=f"{predictor.name}.{task}",
            label=f"Grad-CAM: {_IN_WORDS.get(task, task)} ({predictor.identity.name})",
            what="what a prognosis network used; never a reason to limit care",
            by=f"{predictor.identity.name} {predictor.identity.version}",
            evidence=predictor.identity.level(task).value,
            shape=(heat.shape[0], heat.shape[1], heat.shape[2]),
            of_slice=laid.of_slice,
            box=laid.box,
        )
        maps.append((made, _bytes(heat)))
    return maps, []


def _bytes(heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    largest = float(heat.max())
    return np.rint(heat / largest * 255 if largest > 0 else heat).astype(np.uint8)
