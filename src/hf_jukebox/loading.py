"""Loading weights that must all be there: transformers warns about missing ones and goes on with random numbers."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from pathlib import Path
from typing import Any, Self

from safetensors import SafetensorError
from transformers import PreTrainedModel
from transformers.utils.quantization_config import QuantizationMethod

from .files import listed
from .weight_files import check_folder, check_size

_REPORT_WORDS = ("LOAD REPORT", "checkpoint seem corrupted")


class CompleteModel(PreTrainedModel):
    """A `PreTrainedModel` whose `from_pretrained` refuses weights that do not fit it, and says which."""

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str] | None,
        *model_args: Any,
        output_loading_info: bool = False,
        ignore_mismatched_sizes: bool = False,
        **kwargs: Any,
    ) -> Self:
        """Load a model as transformers does, with all its arguments.

        Args:
            output_loading_info: Return `(model, loading_info)`, as transformers does.
            ignore_mismatched_sizes: Give tensors of another shape their initial weights, for instance to train new
                label tables.

        Raises:
            OSError: there are no weights, or their file is damaged.
            ValueError: tensors are missing, unknown or of the wrong shape; the message names them. Or the folder is not
                one of ours: its config asks for more than its files hold, or an index names files elsewhere.
        """
        _check_before(cls, pretrained_model_name_or_path, kwargs)
        kwargs.setdefault("use_safetensors", True)
        try:
            with nullcontext() if ignore_mismatched_sizes else _report_held_back():
                loaded: Any = super().from_pretrained(
                    pretrained_model_name_or_path,
                    *model_args,
                    output_loading_info=True,
                    ignore_mismatched_sizes=True,  # else transformers stops at the first fault it finds
                    **kwargs,
                )
        except SafetensorError as error:
            raise OSError(
                f"The weights in {pretrained_model_name_or_path} are damaged or cut short ({error}); copy, download or "
                "convert them again."
            ) from error
        model, info = loaded
        faults = _faults(info, ignore_mismatched_sizes)
        if faults:
            raise ValueError(
                f"The weights in {pretrained_model_name_or_path} do not fit {cls.__name__} with their config: {faults}."
            )
        return loaded if output_loading_info else model

    @wraps(PreTrainedModel.save_pretrained)  # diffusers reads in the signature which arguments it may pass on
    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        self.check_can_be_loaded_again()
        super().save_pretrained(*args, **kwargs)

    def check_can_be_loaded_again(self) -> None:
        """Refuse a model quantised by torchao: its files can be written, but parameters that lie in no submodule, such
        as a prior's `position_embedding`, end torchao's reading of them.

        Raises:
            ValueError: this is one.
        """
        if getattr(self, "quantization_method", None) == QuantizationMethod.TORCHAO:
            raise ValueError(
                f"A {type(self).__name__} quantised by torchao cannot be loaded again; save it before it is quantised, "
                "and give from_pretrained the quantization_config each time."
            )


def _check_before(cls: Any, source: str | os.PathLike[str] | None, options: dict[str, Any]) -> None:
    """Refuse a folder that is not what it seems, before its model is built."""
    if source is None or not Path(source).is_dir():
        return
    folder = Path(source) / (options.get("subfolder") or "")
    config = options.get("config")
    if config is None:
        if not (folder / "config.json").is_file():  # transformers would take the default settings
            raise OSError(f"There is no file config.json in {folder}; give what save_pretrained wrote.")
        config = cls.config_class.from_pretrained(folder)
    stored = check_folder(folder, options.get("variant"))
    if isinstance(config, cls.config_class):
        elsewhere = any(options.get(name) is not None for name in ("device_map", "quantization_config"))
        check_size(cls, config, stored, folder, fits=elsewhere)


def _faults(info: dict[str, Any], ignore_mismatched_sizes: bool) -> str:
    """What is wrong with loaded weights, or nothing."""
    shapes = [
        f"{name} ({list(found)} instead of {list(expected)})" for name, found, expected in info["mismatched_keys"]
    ]
    kinds = {
        "missing": info["missing_keys"],
        "unknown": info["unexpected_keys"],
        "of the wrong shape": [] if ignore_mismatched_sizes else shapes,
    }
    return "; ".join(f"{len(names)} {kind}: {listed(sorted(names))}" for kind, names in kinds.items() if names)


@contextmanager
def _report_held_back() -> Iterator[None]:
    """Hold back what transformers logs about weights that do not fit: our error says it. Other errors refer to it."""
    logger, held = logging.getLogger("transformers.modeling_utils"), []

    def hold_back(record: logging.LogRecord) -> bool:
        about_weights = any(words in record.getMessage() for words in _REPORT_WORDS)
        if about_weights:
            held.append(record)
        return not about_weights

    logger.addFilter(hold_back)
    try:
        yield
    except RuntimeError:
        logger.removeFilter(hold_back)
        for record in held:
            logger.handle(record)
        raise
    finally:
        logger.removeFilter(hold_back)
