"""The controllers of the embedded cluster: they know it through the Client protocol only."""

from kaos_ext.cluster.controllers.start import Controllers, ControllerSettings, start_controllers

__all__ = ["ControllerSettings", "Controllers", "start_controllers"]
