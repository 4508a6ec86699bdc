"""What scanners and people write into descriptions and kernel names, and what it means for a triage of head CTs.

Descriptions are free text in several languages, so a word only decides where no attribute does (PAPERS.md 7.2); kernels are
the vendors' own names. Texts are cut to 256 characters and no pattern repeats inside a repetition, so no text is slow.
"""

from __future__ import annotations

import re
from enum import StrEnum


class Kernel(StrEnum):
    SOFT = "soft"
    SHARP = "sharp"
    UNKNOWN = "unknown"


_SHARP_NAMES = re.compile(r"bone|lung|edge|sharp|^y[a-e]$|^[el]$")
_SOFT_NAMES = re.compile(r"soft|brain|stand|stnd|^std|^u[abc]$|^[abc]$|smooth|neuro|fossa")
_SIEMENS = re.compile(r"^[a-z]{1,2}([0-9]{2})[a-z]{0,2}$")
_CANON = re.compile(r"^fc([0-9]{2})")


def kernel_kind(convolution_kernel: tuple[str, ...]) -> Kernel:
    """Soft, sharp (bone, lung, edge) or not known.

    GE and Philips use words or letters, Siemens letters and a sharpness (H31s, Hr64: over 54 is sharp), Canon FC numbers
    (30s, 50s and 80s are bone and lung).
    """
    kinds = {_one_kernel(k.strip().lower()) for k in convolution_kernel if k.strip()}
    for kind in (Kernel.SHARP, Kernel.SOFT):
        if kind in kinds:
            return kind
    return Kernel.UNKNOWN


def _one_kernel(name: str) -> Kernel:
    if canon := _CANON.match(name):
        return Kernel.SHARP if int(canon[1]) // 10 in (3, 5, 8) else Kernel.SOFT
    if siemens := _SIEMENS.match(name):
        return Kernel.SHARP if int(siemens[1]) > 54 else Kernel.SOFT
    if _SHARP_NAMES.search(name):
        return Kernel.SHARP
    return Kernel.SOFT if _SOFT_NAMES.search(name) else Kernel.UNKNOWN


def _words(texts: tuple[str, ...]) -> str:
    """Lower case; everything but letters, digits, + and - becomes one space; a space at both ends."""
    joined = " ".join(texts)[:256].lower()
    return f" {' '.join(re.sub(r'[^0-9a-zà-ÿ+-]+', ' ', joined).split())} "


def _any_of(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?<= )(?:{words})(?= )")


# negations go first: most names with the word "contrast" say that there is none
_BOTH = _any_of("with without|with and without|w and w o|w w o|w wo|w and wo")
_WITHOUT_CONTRAST = _any_of(
    "plain|nativ|native|nativo|non-?contrast|non contrast|no contrast|pre-?contrast|pre contrast|without iv contrast|"
    "without contrast|without|unenhanced|ncct|nect|nc|w o contrast|w o|wo contrast|wo|ohne km|ohne|"
    "sans iv|sans injection|sans contraste|sans|sin contraste|sin|c-|-c"
)
_WITH_CONTRAST = _any_of(
    r"post-?contrast\S*|contrast\S*|mit km|avec injection|avec|con contraste|with iv|enhanced|cect|ce|ct c|c\+|\+c|oral iv|"
    r"iv contrast|cta|ctv|angio\S*|ctp|perf|perfusion|arterial|venous|venogram|venography|delayed|bolus"
)


def says_contrast(*texts: str) -> bool:
    """A description that speaks of contrast, an angiography or a perfusion; negations ("without contrast") do not count."""
    text = _words(texts)
    return bool(_BOTH.search(text) or _WITH_CONTRAST.search(_WITHOUT_CONTRAST.sub("", text)))


_BONE = _any_of("bone|bones|bony|knochen|hrct|felsenbein|petrous|os")
_LOCALIZER = _any_of("scout|scouts|topogram|surview|localizer|localiser|scanogram")
_DOSE = _any_of("dose|exam summary|patient protocol|protocol page|screen save|screensave")
_HEAD = _any_of(
    "head|brain|skull|cranium|cranial|cerebral|neuro|crane|crâne|cerveau|schadel|schädel|kopf|cabeza|craneo|cráneo|cct|"
    "cerebrum|hoofd|hirn|stroke|stereotaxis"
)
_OTHER_PART = _any_of(
    "chest|thorax|lung|lungs|abdomen|abdominal|pelvis|pelvic|spine|cspine|tspine|lspine|c-spine|t-spine|l-spine|lumbar|"
    "thoracic|liver|kidney|colon|heart|cardiac|coronary|hip|knee|ankle|foot|shoulder|elbow|wrist|hand|extremity|leg|arm|"
    "femur|aorta|wholebody|whole body|kub|urogram|neck|larynx|hals"
)


def says_bone(*texts: str) -> bool:
    return bool(_BONE.search(_words(texts)))


def says_localizer(*texts: str) -> bool:
    return bool(_LOCALIZER.search(_words(texts)))


def says_dose_page(*texts: str) -> bool:
    return bool(_DOSE.search(_words(texts)))


def says_head(*texts: str) -> bool:
    return bool(_HEAD.search(_words(texts)))


def says_other_body_part(*texts: str) -> bool:
    return bool(_OTHER_PART.search(_words(texts)))


_NO_AGENT = frozenset(
    "NONE NO N 0 WITHOUT NON NEIN OHNE SANS SENZA SIN NIL NATIV NATIVE NA UNENHANCED NONCONTRAST NOCONTRAST PLAIN".split()
)
"""What scanners and their operators write where no agent was given; the whole of the text."""
_DENIES = frozenset("NO NON WITHOUT OHNE SANS SENZA SIN KEIN KEINE W/O WO".split())
_DENIED = frozenset(
    "IV INTRAVENOUS ORAL CONTRAST CONTRASTE CONTRASTO KONTRAST KONTRASTMITTEL KM AGENT MEDIUM MEDIA INJECTION INJECTED GIVEN "
    "ADMINISTERED APPLICATION ENHANCEMENT DE PRODUIT PDC MDC".split()
)


def says_agent(text: str) -> bool:
    """Whether a Contrast/Bolus Agent names one: scanners also write that there was none.

    Only a text that says nothing else denies it: "non-ionic", "W/WO" and "no reaction to Omnipaque" name an agent.
    """
    said = text.upper().replace("N/A", "NA").replace("N.A", "NA")
    words = re.findall(r"W/O|[^\W_]+", said)
    if not words or "".join(words) in _NO_AGENT:
        return False
    return not (words[0] in _DENIES and len(words) > 1 and all(w in _DENIED for w in words[1:]))
