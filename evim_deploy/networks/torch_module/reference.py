"""A torch module as a reference: the published network, and its inference form."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from functools import cached_property, partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from evim_deploy.artifact.target import Target, Weights
from evim_deploy.catalog.terms import ModelKind, Precision
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


class ModuleReference:
    """A network that stays a torch module.

    Args:
        loaded: The network.
        size: Native height and width of its input images, pixels.
    """

    kind: ClassVar[ModelKind] = ModelKind.TORCH_MODULE

    def __init__(self, loaded: LoadedModel, size: tuple[int, int]) -> None:
        self._loaded = loaded
        self._size = size
        self._accepted_sizes: set[tuple[int, ...]] = set()

    @property
    def engine(self) -> str:
        return self._loaded.engine

    @property
    def weights(self) -> Weights:
        return self._loaded.weights

    @property
    def preprocessing(self) -> Preprocessing:
        return self._loaded.preprocessing

    @property
    def num_classes(self) -> int:
        return self._loaded.num_classes

    @cached_property
    def rewritten(self) -> tuple[nn.Module, list[RewriteResult]]:
        """The inference form of the bare network, and the results of its rewrites."""
        module = deepcopy(self._loaded.module)
        kernels = len(compute_kernels(module))
        results = fold(module, sample_images(*self._size)[:1])
        pools = len(write_pools(module))
        norms = len(split_means(module))
        counts = Counter({"group_norm": norms} if norms else {})
        return module, [
            *results,
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

    def rewrite_results(self, target: Target) -> list[RewriteResult]:
        return self.rewritten[1]

    def stored_form(self, target: Target) -> ExportWrapper:
        """The network with the target's normalisation and activation, in float32."""
        wrapper = self._wrapper(target)
        return rounded(wrapper) if target.precision == Precision.FP16 else wrapper

    def network(self, target: Target) -> ModuleNetwork:
        return ModuleNetwork(self._wrapper(target), target.output)

    def simulated_network(self, target: Target) -> ModuleNetwork:
        return ModuleNetwork(self.stored_form(target), target.output)

    @property
    def activation(self) -> str:
        return self._loaded.activation

    @property
    def classifier_outputs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self._loaded.output, "probabilities")))

    def outputs(self, task: str, images: Array, batch: int = 1) -> dict[str, Array]:
        """One image at a time, whatever the batch: an ONNX file may accept only one."""
        return dict(self._loaded.original(images))

    def transform(self, height: int, width: int) -> Transform:
        published = self._loaded.transform or partial(published_transform, self.preprocessing)
        return published(height, width)

    def outputs_in(self, dtype: torch.dtype, task: str, images: Array) -> dict[str, Array]:
        module = deepcopy(self._loaded.module).to(dtype)
        with torch.no_grad():
            each = [module(torch.from_numpy(images[i : i + 1]).to(dtype)) for i in range(len(images))]
        return {self._loaded.output: torch.cat(each).numpy()}

    def _wrapper(self, target: Target) -> ExportWrapper:
        assert target.height
        assert target.width
        self._check_size(target.height, target.width)
        wrapper = ExportWrapper(self.rewritten[0], self._loaded.output, self.preprocessing, target)
        return wrapper.eval().requires_grad_(False)

    def _check_size(self, height: int, width: int) -> None:
        """Run the network on an image of a size.

        Raises:
            BadInput: The network does not accept it, or its output has the wrong shape.
        """
        if (height, width) in self._accepted_sizes:
            return
        try:
            with torch.no_grad():
                answer = self.rewritten[0](torch.zeros(1, 3, height, width))
        except (RuntimeError, AssertionError, ValueError, TypeError) as error:  # errors of networks for a size
            raise BadInput(
                f"The network does not accept images of {height}x{width}: {first_line(error)}.",
                f"Give another --resolution; it is made for {self._size[0]}x{self._size[1]}.",
            ) from error
        if not isinstance(answer, Tensor) or answer.shape != (1, self.num_classes):
            raise BadInput(
                "The network is not a classifier: its output is not one logit for each class.", "Choose another."
            )
        self._accepted_sizes.add((height, width))
