"""Which data set is this folder? Names of files decide, the most particular layout first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from triage_node.datasets import bhsd, cobo, cq500, ct_ich, hospital, instance22, phe_sich, plain, rsna
from triage_node.datasets.data_set import DataSet
from triage_node.datasets.folder import Folder
from triage_node.domain.errors import DataSetError

_Test = Callable[[Folder], object]
_LAYOUTS: tuple[tuple[str, _Test, Callable[[Folder], DataSet]], ...] = (
    ("a CSV with study and label beside DICOM (hospital)", hospital.find_table, hospital.open_hospital),
    ("labels.csv with file and label (plain folder)", plain.find_table, plain.open_plain),
    ("stage_2_train.csv (RSNA 2019)", rsna.find_table, rsna.open_rsna),
    ("reads.csv (CQ500)", cq500.find_table, cq500.open_cq500),
    ("Patients_CT/NNN/brain/K.jpg (ct-ich 1.0.0)", ct_ich.fits_pictures, ct_ich.open_pictures),
    ("ct_scans/NNN.nii (ct-ich 1.3.1)", ct_ich.fits_volumes, ct_ich.open_volumes),
    ("GOOD_PROGNOSIS and POOR_PROGNOSIS (Cobo)", cobo.fits, cobo.open_cobo),
    ("vol256 with patients.csv (PHE-SICH mosaics)", phe_sich.is_mosaic, phe_sich.open_mosaics),
    ("NIFIT/set and label (PHE-SICH-CT-IDS)", phe_sich.published_root, phe_sich.open_published),
    ("ID_x_ID_y.nii.gz with ground truths (BHSD)", bhsd.fits, bhsd.open_bhsd),
    ("data and label with NNN.nii.gz (INSTANCE 2022)", instance22.fits, instance22.open_instance22),
)


def open_data_set(folder: Path | str) -> DataSet:
    """Open a folder of labelled head CTs; pixels are read when a case is loaded.

    Raises DataSetError with what was expected and what was found when the folder fits no known layout.
    """
    path = Path(folder)
    if not path.is_dir():
        raise DataSetError(f"{path}: no such folder")
    inside = Folder(path)
    for _, fits, opened in _LAYOUTS:
        if fits(inside):
            return opened(inside)
    deeper = [f for f in inside.files if f.casefold().endswith("/labels.csv")]
    if len(deeper) == 1:
        return open_data_set(path / deeper[0].rpartition("/")[0])
    layouts = "; ".join(words for words, _, _ in _LAYOUTS)
    raise DataSetError(
        f"{path.name}: expected labels.csv with columns file and label, or one of: {layouts}; {inside.found_words()}"
    )
