"""Run a torch module in a proof, as it is and with noise in a layer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from evim_deploy.networks.protocols import Array, Faults, Outputs
from evim_deploy.networks.runnable import noisy


class ModuleNetwork:
    """A torch module with one output.

    Args:
        module: A module in float32.
        output: Name of its output.
        changed: Replacements of its parameters, by name.
    """

    anomalies: Mapping[str, Mapping[str, int]] = {}

    def __init__(self, module: nn.Module, output: str, changed: Mapping[str, Tensor] | None = None) -> None:
        self._module = module
        self._output = output
        self._changed = changed or {}

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the modules with parameters of their own, in the order of the module tree."""
        modules = self._module.named_modules()
        return tuple(name for name, module in modules if any(True for _ in module.parameters(recurse=False)))

    def run(self, image: Array) -> dict[str, Array]:
        return self._outputs(image, self._changed)

    def perturbed(self, layer: str, share: float, generator: torch.Generator) -> ModuleNetwork:
        noise = self._noisy(layer, share, generator)
        return ModuleNetwork(self._module, self._output, {**self._changed, **noise})

    def faults(self, image: Array, share: float, generator: torch.Generator) -> tuple[Outputs, Faults]:
        return self.run(image), ((layer, self.perturbed(layer, share, generator).run(image)) for layer in self.layers)

    def _outputs(self, image: Array, changed: Mapping[str, Tensor]) -> dict[str, Array]:
        """The output, computed one image at a time to bound the memory."""
        with torch.no_grad():
            each = [functional_call(self._module, dict(changed), torch.from_numpy(one[None])).numpy() for one in image]
        return {self._output: np.concatenate(each)}

    def _noisy(self, layer: str, share: float, generator: torch.Generator) -> Mapping[str, Tensor]:
        own = self._module.get_submodule(layer).named_parameters(layer, recurse=False)
        return noisy(dict(own), share, generator)
