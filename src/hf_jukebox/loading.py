"""Loading weights that must all be there: transformers warns about missing ones and goes on with random numbers."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from typing import Any, Self

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel
from transformers.utils.quantization_config import QuantizationMethod

from .files import listed
from .pretrained import check_model_source

_REPORT_WORDS = ("LOAD REPORT", "checkpoint seem corrupted")


class CompleteModel(PreTrainedModel):
    """A `PreTrainedModel` whose `from_pretrained` refuses weights that do not fit it, and says which.

    In half precision the parts in `_keep_in_fp32_modules_strict` stay in float32, whether the model is loaded in it or
    cast to it later.
    """

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
            OSError: there is no such model, its layout is another one, or its weights are missing or damaged.
            ValueError: tensors are missing, unknown or of the wrong shape; the message names them.
        """
        if pretrained_model_name_or_path is not None:
            pretrained_model_name_or_path = check_model_source(pretrained_model_name_or_path, cls._model_type(), kwargs)
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

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the parts that may be halved; it is saved with the config, and loaded again."""
        halved = (each.dtype for name, each in self.named_parameters() if not self._stays_in_float32(name))
        return next((dtype for dtype in halved if dtype.is_floating_point), super().dtype)

    def to(self, *args: Any, **kwargs: Any) -> Self:  # type: ignore[override]
        """Move the model, or cast it; half precision is for the parts that may be halved."""
        device, dtype, non_blocking, memory_format = torch._C._nn._parse_to(*args, **kwargs)
        if dtype not in (torch.float16, torch.bfloat16):
            return super().to(*args, **kwargs)
        for module_name, module in self.named_modules():
            for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
                # Quantised weights keep their own format.
                if type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.is_floating_point():
                    kept = self._stays_in_float32(f"{module_name}.{name}")
                    tensor.data = tensor.data.to(torch.float32 if kept else dtype)
        base: Any = super()
        return base.to(device=device, non_blocking=non_blocking, memory_format=memory_format)

    def half(self, *args: Any) -> Self:
        """Cast to float16, as `to` does."""
        return self.to(torch.float16)

    def bfloat16(self) -> Self:
        """Cast to bfloat16, as `to` does."""
        return self.to(torch.bfloat16)

    @classmethod
    def _model_type(cls) -> str:
        assert cls.config_class is not None
        return cls.config_class.model_type

    def _stays_in_float32(self, name: str) -> bool:
        kept = getattr(self, "_keep_in_fp32_modules_strict", None) or ()
        return re.search(rf"(^|\.)({'|'.join(map(re.escape, kept))})($|\.)", name) is not None

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
