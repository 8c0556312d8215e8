"""What an artifact of any torch module is made from and compared with."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from functools import cached_property, partial
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from evim_deploy.artifact.target import Target, Weights
from evim_deploy.catalog.terms import ModelKind
from evim_deploy.common.errors import BadInput, first_line
from evim_deploy.graph.rewrites.rewrite import RewriteResult
from evim_deploy.images.preprocessing import Preprocessing
from evim_deploy.images.published_transform import Transform, published_transform
from evim_deploy.networks.protocols import Array
from evim_deploy.networks.torch_module.computed_kernels import compute_kernels
from evim_deploy.networks.torch_module.export_wrapper import ExportWrapper, rounded
from evim_deploy.networks.torch_module.folding import fold
from evim_deploy.networks.torch_module.group_norm import split_means
from evim_deploy.networks.torch_module.loaded import LoadedModel
from evim_deploy.networks.torch_module.pools import write_pools
from evim_deploy.networks.torch_module.runnable import ModuleNetwork
from evim_deploy.networks.torch_module.seeding import sample_images

if TYPE_CHECKING:
    pass


class ModuleReference:
    """A network that stays a torch module.

    Args:
        opened: The network.
        size: Height and width of images that it takes, pixels.
    """

    kind: ClassVar[ModelKind] = ModelKind.TORCH_MODULE

    def __init__(self, opened: LoadedModel, size: tuple[int, int]) -> None:
        self._opened = opened
        self._size = size
        self._taken: set[tuple[int, ...]] = set()

    @property
    def engine(self) -> str:
        return self._opened.engine

    @property
    def weights(self) -> Weights:
        return self._opened.weights

    @property
    def preprocessing(self) -> Preprocessing:
        return self._opened.preprocessing

    @property
    def num_classes(self) -> int:
        return self._opened.num_classes

    @cached_property
    def rewritten(self) -> tuple[nn.Module, list[RewriteResult]]:
        """The inference form of the bare network, and what became of its norms, kernels and pools."""
        module = deepcopy(self._opened.module)
        kernels = len(compute_kernels(module))
        outcomes = fold(module, sample_images(*self._size)[:1])
        pools = len(write_pools(module))
        norms = len(split_means(module))
        counts = Counter({"group_norm": norms} if norms else {})
        return module, [
            *outcomes,
            RewriteResult(
                rewrite="means of GroupNorms in two steps", applied=norms, removed=counts, added=counts, refused=()
            ),
            RewriteResult(
                rewrite="standardised kernels computed", applied=kernels, removed=Counter(), added=Counter(), refused=()
            ),
            RewriteResult(
                rewrite="pools without ceil_mode and counted padding",
                applied=pools,
                removed=Counter(),
                added=Counter(),
                refused=(),
            ),
        ]

    def outcomes(self, target: Target) -> list[RewriteResult]:
        return self.rewritten[1]

    def stored(self, target: Target) -> nn.Module:
        """A servable module (:class:`~evim_deploy.networks.torch_module.export_wrapper.ExportWrapper`), in float32."""
        servable = self._servable(target)
        return rounded(servable) if target.precision == "fp16" else servable

    def network(self, target: Target) -> ModuleNetwork:
        return ModuleNetwork(self._servable(target), target.output)

    def simulated_network(self, target: Target) -> ModuleNetwork:
        return ModuleNetwork(self.stored(target), target.output)

    @property
    def activation(self) -> str:
        return self._opened.activation

    @property
    def classifier_outputs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self._opened.gives, "probabilities")))

    def outputs(self, task: str, images: Array, batch: int = 1) -> dict[str, Array]:
        """One image at a time, whatever the batch: an ONNX file may take no more."""
        return dict(self._opened.original(images))

    def transform(self, height: int, width: int) -> Transform:
        published = self._opened.transform or partial(published_transform, self.preprocessing)
        return published(height, width)

    def outputs_in(self, dtype: torch.dtype, task: str, images: Array) -> dict[str, Array]:
        module = deepcopy(self._opened.module).to(dtype)
        with torch.no_grad():
            each = [module(torch.from_numpy(images[i : i + 1]).to(dtype)) for i in range(len(images))]
        return {self._opened.gives: torch.cat(each).numpy()}

    def _servable(self, target: Target) -> ExportWrapper:
        assert target.height
        assert target.width
        self._check_size(target.height, target.width)
        servable = ExportWrapper(self.rewritten[0], self._opened.gives, self.preprocessing, target)
        return servable.eval().requires_grad_(False)

    def _check_size(self, height: int, width: int) -> None:
        """Try an image of a size.

        Raises:
            BadInput: The network takes none, or gives something else than logits.
        """
        if (height, width) in self._taken:
            return
        try:
            with torch.no_grad():
                answer = self.rewritten[0](torch.zeros(1, 3, height, width))
        except (RuntimeError, AssertionError, ValueError, TypeError) as error:  # as networks refuse a size
            raise BadInput(
                f"The network takes no image of {height}x{width}: {first_line(error)}.",
                f"Give another --resolution; it is made for {self._size[0]}x{self._size[1]}.",
            ) from error
        if not isinstance(answer, Tensor) or answer.shape != (1, self.num_classes):
            raise BadInput("The network is no classifier: it does not give one logit a class.", "Choose another.")
        self._taken.add((height, width))
