"""Which tracer was injected, from Radiopharmaceutical Information Sequence (0054,0016), PS3.3 C.8.9.2.

Two statements name it: Radiopharmaceutical Code Sequence (0054,0304) and the text Radiopharmaceutical (0018,0031).
The code wins where the text says nothing; where the two name different tracers, or the nuclide is not one that the
tracer is labelled with, nobody knows what was injected, and the name stays "".  So it does where a text beside the code
names something we do not know: consoles leave FDG's code standing when another tracer is typed in.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inference.facts import Caution, Instance, Tracer
from inference.reading.header import listed, number
from inference.suv.nuclide import HALF_LIVES_S, NUCLIDE_OF_CODE, NUCLIDES, nuclide_named, same_half_life

LONGEST_TEXT = 64  # Radiopharmaceutical is an LO (PS3.5 6.2)
CONTRADICTED = "tracer-contradicted"
SNOMED_RT = {"SRT", "SNM3", "99SDM"}  # one code system under three designators (PS3.16 8.1)


@dataclass(frozen=True, slots=True)
class _Kind:
    """One tracer: nuclides it is labelled with, its codes as "scheme code", and how texts call it.

    ``words``: a pattern for words in lower case without accents, punctuation and nuclide.
    """

    name: str
    nuclides: tuple[str, ...]
    codes: tuple[str, ...]
    words: str


# Codes: PS3.16 CID 4021 and CID 25, in SNOMED CT and, as PS3.16 O maps them, SNOMED RT.  Words: generic names, the
# usual short ones, and trade names.
KINDS = (
    _Kind("fdg", ("F-18",), ("SCT 35321007", "SRT C-B1031"), r"fdg|\w*(de|des)o(xy|xi|ssi) ?(d )?glu[ck]o[sz]\w*"),
    _Kind("flt", ("F-18",), ("SCT 129502002", "SRT C-B1036"), r"flt|(fluor\w* ?(l )?)?thymidine?"),
    _Kind("fet", ("F-18",), ("SCT 424708001", "SRT C-B07E0"), r"fet|fluor\w*ethyl ?(l )?tyrosine?"),
    _Kind("fdopa", ("F-18",), ("SCT 5811000122108", "SRT C-E0241"), r"(f|fluor\w* ?)?(l )?dopa"),
    _Kind("fes", ("F-18",), ("SCT 926372005",), r"fes|fluor\w*estradiol|cerianna"),
    _Kind("fmiso", ("F-18",), ("SCT 422598008", "SRT C-B07E1"), r"f?miso|fluoromisonidazole?"),
    _Kind("faza", ("F-18",), (), r"faza|fluoroazomycin\w*"),
    _Kind("naf", ("F-18",), ("SCT 129501009", "SRT C-B1032"), r"naf|(sodium|natrium) ?fluoride?|fluoride"),
    _Kind("fluciclovine", ("F-18",), ("SCT 457000009", "SRT C-E026A"), r"fluciclovine?|facbc|axumin"),
    _Kind("florbetapir", ("F-18",), ("SCT 456995000", "SRT C-E0269"), r"florbetapir|amyvid|av ?45"),
    _Kind("florbetaben", ("F-18",), ("SCT 712736002", "SRT C-D6858"), r"florbetaben|neuraceq"),
    _Kind("flutemetamol", ("F-18",), ("SCT 456997008", "SRT C-E0267"), r"flutemetamol|vizamyl"),
    _Kind("flortaucipir", ("F-18",), ("SCT 879808000", "DCM 126502"), r"flortaucipir|tauvid|av ?1451|t807"),
    _Kind("mk-6240", ("F-18",), ("UMLS C4506764",), r"mk ?6240|florquinitau"),
    _Kind("pib", ("C-11",), ("DCM 126500",), r"pib|pittsburgh compound b"),
    _Kind("choline", ("C-11",), ("DCM 126703",), r"choline?|cholin"),
    _Kind("fluorocholine", ("F-18",), ("SCT 456992002", "SRT C-E0273"), r"fluor\w*choline?|fch|fech|fmch"),
    _Kind("acetate", ("C-11",), ("SCT 129513004", "SRT C-B1043"), r"acetate?"),
    _Kind("methionine", ("C-11",), ("SCT 129510001", "SRT C-B103E"), r"methionine?"),
    _Kind("ammonia", ("N-13",), ("SCT 129508003", "SRT C-B103C"), r"ammonia|nh3"),
    _Kind("water", ("O-15",), ("SCT 129505000", "SRT C-B1039"), r"(oxygen )?water|h2o"),
    _Kind("rubidium", ("Rb-82",), ("SCT 129503007", "SRT C-B1037"), r"rubidium( chloride)?|cardiogen|ruby fill"),
    _Kind("flurpiridaz", ("F-18",), ("DCM 126718",), r"flurpiridaz|flyrcado"),
    _Kind("psma-11", ("Ga-68",), ("NCIt C118961",), r"psma ?(hbed ?(cc)? ?)?11|\w*gozetotide|illuccix|locametz"),
    _Kind("psma-1007", ("F-18",), ("DCM 126758",), r"psma ?1007|radelumin"),
    _Kind("psma-617", ("Ga-68", "Cu-64"), ("DCM 126759",), r"psma ?617"),
    _Kind("dcfpyl", ("F-18",), ("NCIt C116352",), r"dcfpyl|piflufolastat|pylarify|pylclari"),
    _Kind("dcfbc", ("F-18",), ("NCIt C96234",), r"dcfbc"),
    _Kind("rhpsma-7.3", ("F-18",), (), r"rhpsma ?7 ?3|flotufolastat|posluma"),
    _Kind("psma", ("Ga-68", "F-18", "Cu-64", "Zr-89"), (), r"\w*psma\w*"),
    _Kind("dotatate", ("Ga-68", "Cu-64"), ("SCT 724025002",), r"dota ?tate|oxodotreotide|netspot|detectnet"),
    _Kind("dotatoc", ("Ga-68", "Cu-64"), ("UMLS C2713594",), r"dota ?toc|edotreotide?|somakit"),
    _Kind("dotanoc", ("Ga-68",), (), r"dota ?noc"),
    _Kind("fapi", ("Ga-68", "F-18", "Cu-64"), (), r"fapi( ?\d{1,3})?"),
    _Kind("pentixafor", ("Ga-68",), (), r"pentixafor"),
)
NAMES = tuple(kind.name for kind in KINDS)
GENERIC = {"psma": {"psma-11", "psma-1007", "psma-617", "rhpsma-7.3"}, "choline": {"fluorocholine"}}

_BY_NAME = {kind.name: kind for kind in KINDS}
_BY_CODE = {code: kind.name for kind in KINDS for code in kind.codes}
_WORDS = [(kind.name, re.compile(rf"(?<!\w)(?:{kind.words})(?!\w)")) for kind in KINDS]

_ELEMENTS = {n.element: n.name.split("-")[0].lower() for n in NUCLIDES} | {"fluor": "f"}
_NUCLIDE_WORDS = {spelt for n in HALF_LIVES_S for e, m in [n.lower().split("-")] for spelt in (e + m, m + e)}
_NUCLIDE_FIRST = re.compile(rf"(?<!\w)({'|'.join(_NUCLIDE_WORDS)})(?=[a-z])")
_ELEMENT = "|".join(sorted({*_ELEMENTS, *_ELEMENTS.values()}))
_SPLIT_NUCLIDE = re.compile(rf"(?<!\w)(?:({_ELEMENT}) (\d{{2,3}}m?)|(\d{{2,3}}m?) ({_ELEMENT}))(?!\w)")
# What a text may say without naming a tracer.
_SAYS_NOTHING = frozenset(
    {"solution", "injection", "unknown", "other", "none", "default", "standard", "radiopharmaceutical", "tracer", "pet"}
    | {"dose", "activity", "syringe", "iv", "bq", "mbq", "mci", "ml"}
)


@dataclass(frozen=True, slots=True)
class _Told:
    """What one header says.  ``contradiction`` ends the sentence "…: "; "" where there is none."""

    tracer: Tracer
    contradiction: str = ""


def tracer_of(instances: Sequence[Instance]) -> Tracer:
    """The tracer of one PET series; name "" where it is unknown, contradictory, or not one for all slices."""
    return _of_series(instances).tracer


def tracer_cautions(instances: Sequence[Instance]) -> tuple[Caution, ...]:
    """One caution where the header contradicts itself about what was injected."""
    why = _of_series(instances).contradiction
    text = f"What was injected is not known, and no model for a tracer is run: {why}."
    return (Caution(CONTRADICTED, text),) if why else ()


def tracer_named(text: str) -> tuple[str, ...]:
    """The tracers that a text names, by our names; a general name ("psma") gives way to a special one."""
    words = _words(text)
    found = {name for name, pattern in _WORDS if pattern.search(words)}
    return tuple(name for name in NAMES if name in found and not GENERIC.get(name, set()) & found)


def _of_series(instances: Sequence[Instance]) -> _Told:
    stories = {repr(_relevant(i)): _relevant(i) for i in instances}
    told = [_of_items(items) for items in stories.values()]
    if len({t.tracer for t in told}) > 1:
        texts = " / ".join(dict.fromkeys(t.tracer.text for t in told if t.tracer.text))
        nuclides = {t.tracer.nuclide for t in told}
        nuclide = nuclides.pop() if len(nuclides) == 1 else ""
        return _Told(Tracer("", nuclide, texts[:LONGEST_TEXT]), "the slices of the PET disagree about it")
    return told[0] if told else _Told(Tracer("", ""))


_RELEVANT = (
    "Radiopharmaceutical",
    "RadiopharmaceuticalCodeSequence",
    "RadionuclideCodeSequence",
    "RadionuclideHalfLife",
)


def _relevant(instance: Instance) -> list[dict[str, Any]]:
    items = listed(instance.get("RadiopharmaceuticalInformationSequence"))
    return [{key: item.get(key) for key in _RELEVANT} for item in items if isinstance(item, Mapping)]


def _of_items(items: Sequence[Mapping[str, Any]]) -> _Told:
    told = [_of_item(item) for item in items]
    if len({(t.tracer.name, t.tracer.nuclide) for t in told}) > 1:
        return _Told(Tracer("", "", " / ".join(t.tracer.text for t in told)[:LONGEST_TEXT]), "several injections")
    return told[0] if told else _Told(Tracer("", ""))


def _of_item(item: Mapping[str, Any]) -> _Told:
    codes = [c for c in listed(item.get("RadiopharmaceuticalCodeSequence")) if isinstance(c, Mapping)]
    text = _printable(item.get("Radiopharmaceutical"))
    by_code = {name for code in codes if (name := _BY_CODE.get(_code(code)))}
    meanings = [_printable(code.get("CodeMeaning")) for code in codes]
    texts = [t for t in (text, *meanings) if t]
    shown = " / ".join(dict.fromkeys(texts))[:LONGEST_TEXT]
    nuclides = {n for n in (_by_nuclide_code(item), _by_half_life(item), *map(_nuclide_in, texts)) if n}
    nuclide = nuclides.pop() if len(nuclides) == 1 else ""
    if nuclides and not nuclide:
        return _Told(Tracer("", "", shown), "its header names several nuclides")
    names = {_settled(name, nuclide) for t in texts for name in tracer_named(t)} | by_code
    names = {name for name in names if not GENERIC.get(name, set()) & names}
    if len(names) > 1:
        return _Told(Tracer("", nuclide, shown), f"its header names {' and '.join(sorted(names))}")
    name = names.pop() if names else ""
    free = [text, *(m for m, code in zip(meanings, codes, strict=True) if _code(code) not in _BY_CODE)]
    if name and any(not tracer_named(t) and not _says_nothing(t) for t in free):
        return _Told(Tracer("", nuclide, shown), f"its header names {name} and something else that we do not know")
    if name and nuclide and nuclide not in _BY_NAME[name].nuclides:
        return _Told(Tracer("", nuclide, shown), f"its header names {name}, but {nuclide} as the nuclide")
    return _Told(Tracer(name, nuclide, shown))


def _settled(name: str, nuclide: str) -> str:
    """ "Choline" with F-18 is fluorocholine."""
    return "fluorocholine" if (name, nuclide) == ("choline", "F-18") else name


def _code(item: Mapping[str, Any]) -> str:
    scheme = str(item.get("CodingSchemeDesignator") or "").strip()
    value = item.get("CodeValue") or item.get("LongCodeValue") or ""
    return f"{'SRT' if scheme in SNOMED_RT else scheme} {str(value).strip()}"


def _by_nuclide_code(item: Mapping[str, Any]) -> str:
    codes = [c for c in listed(item.get("RadionuclideCodeSequence")) if isinstance(c, Mapping)]
    found = {n for c in codes if (n := NUCLIDE_OF_CODE.get(str(c.get("CodeValue") or "").strip()))}
    return found.pop() if len(found) == 1 else ""


def _by_half_life(item: Mapping[str, Any]) -> str:
    stated = number(item, "RadionuclideHalfLife")
    fitting = [nuclide for nuclide in HALF_LIVES_S if stated and same_half_life(stated, nuclide)]
    return fitting[0] if len(fitting) == 1 else ""


def _nuclide_in(text: str) -> str:
    return nuclide_named(_separated(text))


def _says_nothing(text: str) -> bool:
    """Not even in letters that we cannot read."""
    words = _words(text).split()
    legible = all(c.isascii() or not c.isalpha() for c in unicodedata.normalize("NFKD", text))
    return legible and all(word in _SAYS_NOTHING or word in _ELEMENTS or word.isdigit() for word in words)


def _words(text: str) -> str:
    """The text's words without the nuclide."""
    return " ".join(w for w in _separated(text).split() if w not in _NUCLIDE_WORDS)


def _separated(text: str) -> str:
    """Lower case, without accents and punctuation, the nuclide as a word of its own: "^18^F-FDG" → "18f fdg"."""
    plain = unicodedata.normalize("NFKD", text.lower().replace("^", ""))
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    plain = _SPLIT_NUCLIDE.sub(_joined, re.sub(r"[^a-z0-9]+", " ", plain))
    return _NUCLIDE_FIRST.sub(r"\1 ", plain)


def _joined(match: re.Match[str]) -> str:
    together = "".join(_ELEMENTS.get(part, part) for part in match.groups() if part)
    return together if together in _NUCLIDE_WORDS else match.group()


def _printable(value: Any) -> str:
    text = "" if value is None else str(value)
    return "".join(c for c in text if c.isprintable()).strip()[:LONGEST_TEXT]
