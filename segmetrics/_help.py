"""The documentation of shared arguments, for docstrings and for errors about wrong calls."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import wraps
from reprlib import repr as short
from textwrap import fill
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

#: Default sections of docstrings; a class or function may override them.
SHARED = """
Args:
    preds: predictions. Integer or bool labels ``(N, ...)``, or scores ``(N, C, ...)`` in fp32,
        fp64, fp16 or bf16, whose argmax (the first of ties) is the label. Binary: labels or scores
        ``(N, ...)`` or ``(N, 1, ...)``. Multilabel: labels or scores ``(N, C, ...)``. ``...`` is
        any number of spatial dimensions.
    target: the ground truth, on the same device. Integer or bool labels ``(N, ...)``, or if
        ``preds`` are scores one-hot ``(N, C, ...)``. Binary: ``(N, ...)`` or ``(N, 1, ...)``.
        Multilabel: ``(N, C, ...)``.
    num_classes: number of classes C, at least 2; or a ``LabelSpace``, which has names, ignored
        values and the mapping of values. Not given for ``task="binary"``.
    ignore_index: one label or several, added to those of a label space. A pixel whose target has
        it does not count. One in ``[0, C)`` also leaves that class out of averages, unless values
        are mapped.
    average: over classes: ``"macro"``, ``"micro"`` (their pixels pooled), ``"weighted"`` by target
        pixels, or ``"none"`` (``None``) for one score a class. Not given for ``task="binary"``.
    aggregation_level: ``"global"`` pools the counts of the data set, ``"samplewise"`` scores each
        image and averages over images.
    include_background: ``False`` leaves class 0 out of averages; its pixels still count as errors
        of the others. Not given for ``task="binary"``.
    regions: whether the regions of the label space are scored instead of its classes, each as one
        mask, the union of its classes.
    zero_division: score of a class whose denominator is 0; nan keeps it out of averages.
    task: ``"multiclass"``, ``"binary"`` (the score of the foreground) or ``"multilabel"`` (each
        channel a binary mask; masks may overlap).
    threshold: for binary and multilabel, the probability in [0, 1] above which a score is
        positive; a probability for logits too.
    from_logits: whether binary and multilabel scores are logits instead of probabilities.
    upsample: ``"bilinear"`` or ``"nearest"`` resizes scores to the target's size while they are
        counted; ``None`` requires scores of the target's size.
    input_format: ``"index"`` for labels or ``"one-hot"`` for masks ``(N, C, ...)``, if dtype and
        dimensions are ambiguous.
    class_names: C different names for plots, keys and ``repr``; by default those of a label space,
        else numbers.
    per_class: whether there are keys for every class.
    prefix: prepended to every key, such as ``"val/"``.
    score: a key of ``ImageScores``, with any percent in place of 1, 5, 10 (``"mIoU_C_20"``), or
        ``"iou/<class>"``, ``"dice/<class>"``, ``"acc/<class>"`` for a class over the data set. A
        resample in which the score is undefined (the class is absent) is left out.
    level: the coverage that the interval aims at, in (0, 1).
    method: ``"percentile"``, or ``"bca"``, which also corrects bias and skew.
    n_resamples: number of bootstrap resamples, and of sampled sign flips.
    groups: the patient or video sequence of each image. Groups are resampled as a whole. A mapping
        from image id to group or, for images without ids, one group an image; ``None`` resamples
        images.
    seed: the same seed gives the same numbers, whatever the order of images and the number of
        processes.
    metric_kwargs: arguments of ``torchmetrics.Metric``. ``sync_on_compute=True``: ``compute`` sums
        over processes; ``dist_sync_on_step=False``: so does ``forward``; ``process_group=None``:
        the processes; ``dist_sync_fn=None`` and ``distributed_available_fn=None``: functions that
        replace the sync; ``compute_with_cache=True``: a second ``compute`` returns the cached
        value; ``compute_on_cpu=False``: whether list states are kept on the CPU.

Inputs of ``update`` and ``forward``:
    ``preds``: integer or bool labels ``(N, ...)``, or scores ``(N, C, ...)`` in fp32, fp64,
    fp16 or bf16. Binary: ``(N, ...)`` or ``(N, 1, ...)``. Multilabel: ``(N, C, ...)``.
    ``target``: integer or bool labels ``(N, ...)``, or with scores one-hot ``(N, C, ...)``.
    ``...`` is any number of spatial dimensions. An empty batch changes nothing.

Raises:
    TypeError: an unknown argument, one of the wrong type, or an unsupported dtype.
    ValueError: an argument out of range, shapes or devices that do not match, or pixels that
        are neither a class nor ignored. A failing update leaves the metric unchanged. On a GPU
        ``update`` does not synchronize, so ``compute`` raises for such pixels.
"""

#: The order of the sections; all other text comes before them.
ORDER = ("Args", "Inputs", "Returns", "Attributes", "Raises", "Example")

WEIGHTS = (
    "every pixel counts once, as counts are exact integers. Weight the classes' scores, which "
    '`average="none"` gives, or leave pixels out by `ignore_index`.'
)
#: Arguments of other libraries, and why there are none here.
REFUSED = {
    **{
        f"{of}{w}": WEIGHTS
        for of in ("", "class_", "pixel_", "sample_")
        for w in ("weight", "weights")
    },
    "thresholds": "scores are counted in cells finer than any list of thresholds. Leave it out.",
    "validate_args": "inputs are always checked, in the pass that counts them. Leave it out.",
}
#: Arguments that have another name in other libraries.
ELSEWHERE = {
    "reduction": "average",
    "mode": "task",
    "num_labels": "num_classes",
    "labels": "class_names",
    "multidim_average": "aggregation_level",
}

POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD
Explained = TypeVar("Explained", bound=Callable[..., Any])
#: The defaults of arguments that other functions pass on, see ``spells``.
DEFAULTS: dict[str, object] = {}
#: Sections of a docstring: first word → heading and body.
Sections = dict[str, tuple[str, str]]


def explained(target: Explained, further: str = "") -> Explained:
    """Document every parameter of a class or function, and reject calls with any other.

    The text of a parameter comes from its own docstring, else from a base class, from the
    ``further`` sections or from ``SHARED``.
    """
    result: Any = target
    if isinstance(target, type):
        function = inspect.getattr_static(target, "__init__")
        ours = [base for base in target.__mro__ if base.__module__.startswith("segmetrics.")]
        parameters = _of_init([init for base in ours if (init := vars(base).get("__init__"))])
        docs = [*(base.__doc__ or "" for base in ours), further]
        target.__doc__ = _docstring(docs, _named(parameters), of_class=True)
        result.__init__ = _checked(function, target.__name__, parameters)
        result.__init__.__doc__ = f"Arguments as in ``help({target.__name__})``."
    else:
        parameters = _of_function(target)
        result = _checked(target, target.__name__, parameters)
        result.__doc__ = _docstring([target.__doc__ or "", further], _named(parameters))
    return result  # type: ignore[no-any-return]


def spells(function: Explained) -> Explained:
    """Record the defaults of a function to which others pass on ``**arguments: Unpack[...]``."""
    DEFAULTS.update({p.name: p.default for p in inspect.signature(function).parameters.values()})
    return function


def _named(parameters: Sequence[inspect.Parameter]) -> list[inspect.Parameter]:
    """The parameters that a caller passes."""
    return [parameter for parameter in parameters if parameter.name != "self"]


def _of_init(inits: Sequence[Callable[..., Any]]) -> list[inspect.Parameter]:
    """The parameters of the first of a class's ``__init__`` methods, in method resolution order.

    ``**arguments: Unpack[...]`` is replaced by the parameters of the base classes that it is passed
    on to. Those of ``torchmetrics.Metric`` stay together as ``**metric_kwargs``.
    """
    own = list(inspect.signature(inits[0]).parameters.values())
    rest = own[-1]
    if len(inits) == 1 or rest.kind is not rest.VAR_KEYWORD or rest.name == "metric_kwargs":
        return _of_function(inits[0])
    passed_on = unpacked(inits[0], rest.name)
    of_bases = [p for p in _of_init(inits[1:]) if p.name in passed_on or p.kind is p.VAR_KEYWORD]
    return own[:-1] + of_bases


def _of_function(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a function, with those of ``**arguments: Unpack[...]`` one by one."""
    found = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not parameter.VAR_KEYWORD or parameter.name == "metric_kwargs":
            found.append(parameter)
            continue
        for name, hint in unpacked(function, parameter.name).items():
            passed_on = parameter.replace(kind=parameter.KEYWORD_ONLY)
            found.append(passed_on.replace(name=name, annotation=hint, default=DEFAULTS[name]))
    return found


def unpacked(function: Callable[..., Any], name: str) -> dict[str, Any]:
    """The arguments that ``**name: Unpack[...]`` of a function accepts, each with its type."""
    (typed,) = get_args(get_type_hints(function)[name])
    return get_type_hints(typed)


# --- Docstrings -----------------------------------------------------------------------------------


def _docstring(
    docs: Sequence[str], known: Sequence[inspect.Parameter], of_class: bool = False
) -> str:
    """The first of some docstrings, with missing sections and arguments from the others."""
    if not docs[0]:  # python -OO
        return ""
    found = [_sections(doc) for doc in (*docs, SHARED)]
    text, example = found[0].pop(""), found[0].get("Example")
    sections = {name: section for each in reversed(found) for name, section in each.items()}
    sections.pop("Example", None)
    if example:  # an example is not inherited
        sections["Example"] = example
    if any(parameter.name == "preds" for parameter in known) or not of_class:
        del sections["Inputs"]  # they are arguments
    texts: dict[str, str] = {}
    for each in reversed(found):
        texts |= _entries(each.get("Args", ("", ""))[1])
    lines = [_entry(parameter, texts) for parameter in known]
    sections["Args"] = "Args:", "\n".join(lines)
    parts = ["\n".join(sections[name]) for name in ORDER if name in sections]
    return "\n\n".join([text[1], *parts]) + "\n"


def _sections(doc: str) -> Sections:
    """The sections of a docstring; all other text has the key ``""``."""
    parts: dict[str, tuple[str, list[str]]] = {"": ("", [])}
    section = ""
    for line in inspect.cleandoc(doc).splitlines():
        if head := re.fullmatch(rf"({'|'.join(ORDER)})\b.*:", line):
            section = head[1]
            parts[section] = line, []
            continue
        if line and not line.startswith(" "):
            section = ""
        parts[section][1].append(line)
    return {name: (head, "\n".join(body).strip("\n")) for name, (head, body) in parts.items()}


def _entries(body: str) -> dict[str, str]:
    """The text of each argument in the lines of ``Args``; several may share a text."""
    entries: dict[str, str] = {}
    for names, text in re.findall(r"^    (\w[\w, ]*): (.*(?:\n {8}.*)*)", body, re.MULTILINE):
        entries |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    return entries


def _entry(parameter: inspect.Parameter, texts: Mapping[str, str]) -> str:
    """The entry of a parameter under ``Args``."""
    stars = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
    text = f"{stars}{parameter.name}: {texts[parameter.name]}"
    if parameter.default is not parameter.empty:
        text += f" Default: {parameter.default!r}."
    return fill(text, 96, initial_indent="    ", subsequent_indent="        ")


# --- Wrong calls ----------------------------------------------------------------------------------


def _checked(
    function: Callable[..., Any], name: str, parameters: Sequence[inspect.Parameter]
) -> Callable[..., Any]:
    """The function, with errors for wrong arguments that name the right ones."""
    signature = inspect.signature(function)
    positional = [p.name for p in signature.parameters.values() if p.kind is POSITIONAL]
    names = [p.name for p in _named(parameters) if p.kind is not p.VAR_KEYWORD]
    of_torchmetrics = [each for each in _passed_on(function) if each not in names]
    every_name = frozenset([*names, *of_torchmetrics])

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if len(args) > len(positional):
            free = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in kwargs]
            hints = get_type_hints(function) | _passed_on(function)
            surplus, types = args[len(positional) :], {each: hints[each] for each in free}
            raise TypeError(_surplus(name, positional, surplus, types))
        for keyword in kwargs:
            if keyword not in every_name:
                raise TypeError(unknown(name, keyword, names, of_torchmetrics))
        return function(*args, **kwargs)

    result: Any = checked
    result.__signature__ = signature.replace(parameters=list(parameters))
    return checked


def _passed_on(function: Callable[..., Any]) -> dict[str, Any]:
    """The arguments of a function's ``**name: Unpack[...]``, if it has one, each with its type."""
    parameters = inspect.signature(function).parameters.values()
    names = [parameter.name for parameter in parameters if parameter.kind is parameter.VAR_KEYWORD]
    return unpacked(function, names[0]) if names else {}


def unknown(name: str, keyword: str, known: Sequence[str], further: Sequence[str] = ()) -> str:
    """The message about an argument that does not exist."""
    if keyword in REFUSED:
        return f"`{name}` takes no `{keyword}`: {REFUSED[keyword]}"
    nearest = [ELSEWHERE.get(keyword), *get_close_matches(keyword, [*known, *further], 1)]
    meant = next((f" Did you mean `{near}`?" for near in nearest if near in (*known, *further)), "")
    listed = ", ".join(known) + (f"; of torchmetrics.Metric: {', '.join(further)}" * bool(further))
    return f"`{name}` has no argument `{keyword}`.{meant} It takes {listed}."


def _surplus(
    name: str, positional: Sequence[str], surplus: Sequence[object], free: dict[str, Any]
) -> str:
    """The message about arguments that have to be named, with names whose types fit them.

    ``free`` are the keyword arguments that were not given, each with its type.
    """
    candidates, named = list(free), []
    for value in surplus:
        if fitting := [each for each in candidates if _fits(value, free[each])]:
            candidates.remove(fitting[0])
            named.append(f"{fitting[0]}={short(value)}")
    by_position = " and ".join(f"`{p}`" for p in positional if p != "self")
    by_name = f", such as `{', '.join(named)}`" if named else f": {', '.join(free)}"
    return (
        f"`{name}` takes {by_position} by position, got {len(surplus)} more. "
        f"Pass the others by name{by_name}."
    )


def _fits(value: object, hint: Any) -> bool:
    """Whether a value has the type of a parameter."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is Literal:
        return value in parts
    if origin is not None:  # a sequence
        if not isinstance(value, Sequence) or isinstance(value, str):
            return False
        return all(_fits(element, parts[0]) for element in value)
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else hint)
