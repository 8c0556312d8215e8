"""The modes of the engines: how an engine computes the numbers of an artifact."""

from __future__ import annotations

from enum import StrEnum


class Mode(StrEnum):
    """A mode, by its name in reports and for ``verify --mode`` and ``--compute-units``.

    Attributes:
        FP16: Every value in the type that the file declares.
        FP32: Every float in float32, on the weights that the file holds.
        DECODED: ``FP32`` with dequantised weights wherever an operation would otherwise quantise its input at run time.
        ANE: A pessimistic Neural Engine; see :mod:`runtimes.mil.arithmetic`.
        ALL: Core ML may use every compute unit. Core ML chooses its arithmetic itself.
        CPU_ONLY: Core ML on the CPU.
        CPU_AND_GPU: Core ML on the CPU and the GPU.
        CPU_AND_NEURAL_ENGINE: Core ML on the CPU and the Neural Engine.
    """

    FP16 = "fp16"
    FP32 = "fp32"
    DECODED = "decoded"
    ANE = "ane"
    ALL = "all"
    CPU_ONLY = "cpuOnly"
    CPU_AND_GPU = "cpuAndGPU"
    CPU_AND_NEURAL_ENGINE = "cpuAndNeuralEngine"
