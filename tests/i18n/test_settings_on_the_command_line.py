"""What a command shows of settings has the pages' labels, in the reader's language: no field's inner name."""

from __future__ import annotations

import pytest

from driver import Daemon

SHOWN = {
    "fax set": ("Resolución", "Reenvío por regla"),
    "print set": ("Remitentes permitidos", "Contraseña en el asunto"),
    "alert set": ("Alertas a", "Secreto del webhook"),
    "scan-settings show": ("Omitir páginas en blanco",),
    "device show fax-7": ("Reescritura del remitente", "Último error"),
}


@pytest.fixture(scope="module")
def machine(shared_daemon: Daemon) -> Daemon:
    shared_daemon.ok("device", "add", "fax 7")
    return shared_daemon


@pytest.mark.parametrize(("command", "labels"), SHOWN.items())
def test_each_field_has_its_label_and_all_values_begin_in_one_column(
    machine: Daemon, command: str, labels: tuple[str, ...]
) -> None:
    """Nothing with an underscore, which only programs say."""
    said = machine.ok(*command.split(), language="es")
    rows = [line for line in said.splitlines() if line.startswith("  ")]
    assert {label for label in labels if any(row.startswith(f"  {label}  ") for row in rows)} == set(labels)
    assert not [row for row in rows if "_" in row.split("  ")[1]]
    width = max(len(row[2:].split("  ")[0]) for row in rows)
    assert all(row[2 + width : 4 + width] == "  " and row[4 + width] != " " for row in rows)


def test_what_is_chosen_is_shown_by_its_name_too(machine: Daemon) -> None:
    """No word that only programs say."""
    shown = machine.ok("device", "show", "fax-7", language="es")
    rows = dict(line.strip().split("  ", 1) for line in shown.splitlines() if line.startswith("  "))
    said = {label: value.strip() for label, value in rows.items()}
    assert said["Cuenta"] == "SMTP"
    assert said["Reescritura del remitente"] == "Cuando el buzón no puede enviar en su nombre"
    assert said["Idioma"] == "El de la máquina"


def test_the_trail_names_fields_by_their_labels(machine: Daemon) -> None:
    machine.ok("smtp", "set", "--port", "2525", "--account", "ana@example.com")
    newest = machine.ok("audit", language="es").splitlines()[1]
    assert newest.endswith("Cambios: Número de Puerto, Nombre de cuenta"), newest
    (record,) = machine.json("audit", "--limit", "1")
    assert record["details"] == {"fields": "port, account"}
    assert record["said"] == "Changed: Port Number, Account Name"


def test_the_trail_names_things_of_the_machine_and_leaves_names_alone(machine: Daemon) -> None:
    """A device may have the name of one of them."""
    machine.ok("device", "add", "fax")
    machine.ok("fax", "set", "--profile", "f")
    changed, added = machine.ok("audit", language="es").splitlines()[1:3]
    assert "  Internet Fax  " in changed, changed
    assert "  fax  " in added, added


def test_a_field_has_its_own_label_where_another_setting_has_one_of_that_name(machine: Daemon) -> None:
    """Faxes, prints and devices have fields of the same inner name."""
    refused = machine.run("fax", "set", "--wait", "0", language="es")
    assert refused.returncode == 2
    assert "Espera de confirmación" in refused.stderr + refused.stdout, refused.stderr
    machine.ok("fax", "set", "--wait", "30")
    assert machine.json("audit", "--limit", "1")[0]["said"] == "Changed: Wait for confirmation"
