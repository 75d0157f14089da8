"""The instance types on offer, and their prices."""

from dataclasses import dataclass
from decimal import Decimal

STORAGE_USD_PER_GB_HOUR = Decimal("0.000139")
"""US dollars per gigabyte of disk and hour, for running and stopped CVMs alike."""


@dataclass(frozen=True, slots=True)
class InstanceType:
    """A size of CVM: virtual CPUs, megabytes of memory, GPUs, and US dollars per hour."""

    id: str
    name: str
    family: str
    vcpu: int
    memory_mb: int
    hourly_rate: Decimal
    gpus: int = 0
    default_disk_gb: int = 20


INSTANCE_TYPES = (
    InstanceType("tdx.small", "Small TDX", "cpu", 1, 2048, Decimal("0.058")),
    InstanceType("tdx.medium", "Medium TDX", "cpu", 2, 4096, Decimal("0.116")),
    InstanceType("tdx.large", "Large TDX", "cpu", 4, 8192, Decimal("0.232"), default_disk_gb=40),
    InstanceType("tdx.xlarge", "Extra large TDX", "cpu", 8, 16384, Decimal("0.464"), default_disk_gb=80),
    InstanceType("h200.small", "One H200", "gpu", 24, 196608, Decimal("3.50"), gpus=1, default_disk_gb=100),
    InstanceType("h200.16xlarge", "Eight H200", "gpu", 192, 1572864, Decimal("23.04"), gpus=8, default_disk_gb=500),
)

CPU_TYPES = tuple(kind for kind in INSTANCE_TYPES if not kind.gpus)
GPU_TYPES = tuple(kind for kind in INSTANCE_TYPES if kind.gpus)
BY_ID = {kind.id: kind for kind in INSTANCE_TYPES}
