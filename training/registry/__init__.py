"""Name the datasets: one YAML file each, with layout, licence, tier and labels."""

from training.registry.spec import DatasetSpec, Licence, load_registry, load_spec

__all__ = ["DatasetSpec", "Licence", "load_registry", "load_spec"]
