"""Fetch the target model and save it once."""

from common.device import best_device
from common.evaluation.own_paths import check_own_paths
from common.target.load import Target, prepare_target
from common.target.residual import check_layers
from common.trunk.choice import TrunkChoice


def make(choice: TrunkChoice) -> None:
    """Save the target as all will load it; our own ways of running it are compared with its own."""
    profile = choice.profile

    def check(made: Target) -> None:
        made.model.to(best_device())
        layers = check_layers(profile.activations.layers, made.manifest["blocks"])
        for layer in layers:
            check_own_paths(made, layer, profile.av)

    prepare_target(profile.target, choice.places.target, check)
