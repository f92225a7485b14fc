"""Strict weight loading; transformers only warns about missing weights and leaves them random."""

from __future__ import annotations

import inspect
import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel
from transformers.utils.quantization_config import QuantizationMethod

from ..files.text import listed, user_path
from ..sharing.cards import Card
from ..sharing.model_cards import model_card
from ..sharing.pushing import PushableMixin, take_push_options
from .sources import check_model_source
from .weight_files import check_folder, check_size

# While it loads weights, transformers replaces `PreTrainedModel.tie_weights` for all models: two threads that load
# would leave each other, and every model after them, without tied weights.
_LOADING = threading.RLock()
_REPORT_WORDS = ("LOAD REPORT", "checkpoint seem corrupted")


class StrictPreTrainedModel(PushableMixin, PreTrainedModel):  # type: ignore[misc]  # push_to_hub returns a text
    """A `PreTrainedModel` whose `from_pretrained` refuses weights that do not fit, and names them.

    In half precision the parts in `_keep_in_fp32_modules_strict` stay in float32, both when the model is loaded in half
    precision and when it is cast to it later.
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
        """Load a model with all the arguments that transformers accepts.

        Args:
            output_loading_info: Return `(model, loading_info)`, as transformers does.
            ignore_mismatched_sizes: Initialise tensors of another shape at random, for instance to train new label
                tables.

        Raises:
            OSError: there is no such model, it has another layout, or its weights are missing or damaged.
            ValueError: tensors are missing, unknown or of the wrong shape (the message names them), the config asks for
                more weights than the files hold, or an index names files outside of its folder.
        """
        if pretrained_model_name_or_path is not None:
            pretrained_model_name_or_path = check_model_source(pretrained_model_name_or_path, cls._model_type(), kwargs)
        _check_local_folder(cls, pretrained_model_name_or_path, kwargs)
        kwargs.setdefault("use_safetensors", True)
        try:
            with _LOADING, nullcontext() if ignore_mismatched_sizes else _defer_load_report():
                loaded: Any = super().from_pretrained(
                    pretrained_model_name_or_path,
                    *model_args,
                    output_loading_info=True,
                    ignore_mismatched_sizes=True,  # else transformers stops at the first fault
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
        """The precision of the parts that may be halved, as saved in the config."""
        halved = (each.dtype for name, each in self.named_parameters() if not self._stays_in_float32(name))
        return next((dtype for dtype in halved if dtype.is_floating_point), super().dtype)

    def to(self, *args: Any, **kwargs: Any) -> Self:  # type: ignore[override]
        """Move or cast the model; half precision applies only to the parts that may be halved.

        Raises:
            ValueError: the model is quantised and cannot be cast.
        """
        device, dtype, non_blocking, memory_format = torch._C._nn._parse_to(*args, **kwargs)
        if dtype not in (torch.float16, torch.bfloat16):
            return super().to(*args, **kwargs)
        is_quantised = any(type(weight).__module__.startswith("torchao") for weight in self.parameters())
        if is_quantised or getattr(self, "quantization_method", None) is not None:
            raise ValueError(
                "A quantised model cannot be cast; pass `dtype` beside `quantization_config` when it is loaded."
            )
        for name, tensor in [*self.named_parameters(), *self.named_buffers()]:
            if tensor.is_floating_point():
                tensor.data = tensor.data.to(torch.float32 if self._stays_in_float32(name) else dtype)
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

    def save_pretrained(self, save_directory: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        """Save the model; see `PreTrainedModel.save_pretrained`.

        Raises:
            ValueError: see `check_can_be_loaded_again`.
        """
        self.check_can_be_loaded_again()
        upload, folder = take_push_options(kwargs), user_path(save_directory)
        super().save_pretrained(folder, *args, **kwargs)
        if upload is not None:
            self.push_saved(folder, upload)

    # diffusers looks there for the arguments that it may pass
    save_pretrained.__signature__ = inspect.signature(PreTrainedModel.save_pretrained)  # type: ignore[attr-defined]

    def hub_card(self, repo_id: str) -> Card:
        """Return the card for a repository."""
        config: Any = self.config
        return model_card(repo_id, config, base=self.name_or_path)

    def check_can_be_loaded_again(self) -> None:
        """Refuse models whose files could not be loaded again.

        The weights of a prior with adapters have other names. torchao cannot read back parameters that belong to no
        submodule, such as a prior's `position_embedding`.

        Raises:
            ValueError: the model has adapters, or is quantised by torchao.
        """
        if getattr(self, "adapters", None) is not None:
            raise ValueError(
                f"A {type(self).__name__} with adapters cannot be saved; merge them into its weights first by "
                "hf_jukebox.merge_adapters, or remove them by unload_adapter."
            )
        if getattr(self, "quantization_method", None) == QuantizationMethod.TORCHAO:
            raise ValueError(
                f"A {type(self).__name__} quantised by torchao cannot be loaded again; save it before it is quantised, "
                "and pass `quantization_config` to `from_pretrained` each time."
            )


def _check_local_folder(cls: Any, source: str | os.PathLike[str] | None, options: dict[str, Any]) -> None:
    """Refuse a folder whose config and weight files do not belong together, before its model is built."""
    if source is None or not Path(source).is_dir():
        return
    folder = Path(source) / (options.get("subfolder") or "")
    config = options.get("config")
    if config is None:
        if not (folder / "config.json").is_file():  # transformers would use the default settings
            raise OSError(f"There is no file config.json in {folder}; give the folder that save_pretrained wrote.")
        config = cls.config_class.from_pretrained(folder)
    stored = check_folder(folder, options.get("variant"))
    if isinstance(config, cls.config_class):
        elsewhere = any(options.get(name) is not None for name in ("device_map", "quantization_config"))
        check_size(cls, config, stored, folder, fits=elsewhere)


def _faults(info: dict[str, Any], ignore_mismatched_sizes: bool) -> str:
    """Describe the faults of loaded weights; return an empty text if there are none."""
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
def _defer_load_report() -> Iterator[None]:
    """Suppress transformers' load report, which our error replaces; replay it for other errors, which refer to it."""
    logger, deferred = logging.getLogger("transformers.modeling_utils"), []

    def defer(record: logging.LogRecord) -> bool:
        about_weights = any(words in record.getMessage() for words in _REPORT_WORDS)
        if about_weights:
            deferred.append(record)
        return not about_weights

    logger.addFilter(defer)
    try:
        yield
    except RuntimeError:
        logger.removeFilter(defer)
        for record in deferred:
            logger.handle(record)
        raise
    finally:
        logger.removeFilter(defer)
