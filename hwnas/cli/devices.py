"""`hwnas devices`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from hwnas.cli.options import AsJson
from hwnas.cli.output import print_json, print_table

if TYPE_CHECKING:
    from hwnas.core.device import Device
    from hwnas.core.predictor import Card

__all__ = ["devices"]


def devices(as_json: AsJson = False) -> None:
    """List the devices and their predictors.

    For each: runtime, precisions, error of the predictor, and where its data came from.
    """
    from hwnas.devices.resolve import all_devices
    from hwnas.latency.library import cards

    found = [_describe(device, cards(device.name)) for device in all_devices()]
    if as_json:
        print_json(found)
        return
    print_table(
        "devices",
        ("device", "kind", "runtime", "precision", "error (MAPE)>", "within 10 %>", "spaces", "data"),
        (row for device in found for row in _rows(device)),
    )
    typer.echo("whole sources, licences and dates: hwnas devices --json\n")
    print_table("names", ("device", "title", "also called", "note"), (_name_row(device) for device in found))


def _describe(device: Device, known: list[Card]) -> dict[str, Any]:
    return {
        "name": device.name,
        "title": device.title,
        "kind": device.kind,
        "aliases": list(device.aliases),
        "runtime": device.runtime,
        "precisions": list(device.precisions),
        "reach": device.reach,
        "note": device.note,
        "data": _origin(device, known),
        "predictors": [
            {
                "id": card.id,
                "precision": card.precision,
                "mape": card.mape,
                "within_10": card.within_10,
                "held_out": card.held_out,
                "spaces": list(card.spaces),
                "source": card.source,
                "licence": card.licence,
                "data": "measured" if card.measured else "modelled",
                "n_measurements": card.n_measurements,
                "statistic": card.statistic,
                "date": card.date,
            }
            for card in known
        ],
    }


def _origin(device: Device, known: list[Card]) -> str:
    if known:
        return ", ".join(sorted({"measured" if card.measured else "modelled" for card in known}))
    return "calibrated on first use" if device.can_be_measured else f"none: hwnas device add --like {device.name}"


def _rows(device: dict[str, Any]) -> list[tuple[str, ...]]:
    from hwnas.viz.text import percent

    head = (device["name"], device["kind"], device["runtime"])
    rows: list[tuple[str, ...]] = [
        (
            *head,
            card["precision"],
            percent(card["mape"], 1),
            percent(card["within_10"], 0),
            ", ".join(card["spaces"]),
            f"{card['data']}: {card['source'].split(',')[0]}",
        )
        for card in device["predictors"]
    ]
    return rows or [(*head, ", ".join(device["precisions"]), "not known", "not known", "", device["data"])]


def _name_row(device: dict[str, Any]) -> tuple[str, ...]:
    return device["name"], device["title"], ", ".join(device["aliases"]), device["note"]
