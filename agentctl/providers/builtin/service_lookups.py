"""Lookups about systemd: its units and its journal."""

from __future__ import annotations

from agentctl.providers.builtin.lookup import Lookup

SERVICE_LOOKUPS = (
    Lookup(
        "service_status",
        "the services of systemd",
        "systemctl list-units --type=service --all",
        """
        systemd services | all systemd services | systemd units | all systemd units | units | all units | unit list |
        list of systemd services | list of systemd units | which systemd services are there | which units are there |
        which systemd units are there | status of all systemd services |
        status of the systemd services | status of all units | how many systemd services are there
        """,
        must=("systemd/unit",),
        commands="""
        systemctl | systemctl list-units | systemctl list-units --type=service | systemctl list-units --all |
        systemctl list-units --type=service --all
        """,
    ),
    Lookup(
        "service_status",
        "the units of systemd that have failed",
        "systemctl list-units --failed",
        """
        failed units | all failed units | failed systemd units | failed systemd services | any failed units |
        which units have failed | which units failed | which units are failed | are there failed units |
        are there any failed units | which systemd units have failed | which systemd units failed |
        which systemd services have failed | which systemd services failed | which systemd services are failed |
        has any unit failed | has any systemd unit failed | has any systemd service failed | did any unit fail |
        did any systemd unit fail | did any systemd service fail | are there failed systemd units |
        are there any failed systemd services | any failed systemd services | how many units have failed
        """,
        fixed={"state": "failed"},
        must=("systemd/unit", "failed/fail"),
        commands="""
        systemctl --failed | systemctl list-units --failed | systemctl list-units --state=failed |
        systemctl --state=failed
        """,
    ),
    Lookup(
        "service_status",
        "the state of a systemd unit",
        "systemctl status {unit}",
        """
        status of unit {name} | status of the unit {name} | status of the {name} unit | state of the {name} unit |
        state of unit {name} | is unit {name} running | is the unit {name} running | is the {name} unit running |
        is unit {name} up | is the {name} unit up | has unit {name} failed | has the unit {name} failed |
        has the {name} unit failed | did the {name} unit fail | is the {name} unit failed |
        unit {name} | the {name} unit | {name} unit | {name} unit status | details of the {name} unit |
        details of unit {name} | is the systemd service {name} running | is the {name} systemd service running |
        status of the systemd service {name} | status of the {name} systemd service |
        is systemd service {name} running |
        is the systemd unit {name} running | is the {name} systemd unit running | status of the systemd unit {name} |
        how is the {name} unit doing | since when is the {name} unit running | how often did the {name} unit restart
        """,
        slots={"name": "unit"},
        needs=("unit",),
        must=("systemd/unit",),
        commands="""
        systemctl status {name} | systemctl show {name} | systemctl is-active {name} | systemctl is-failed {name} |
        systemctl is-enabled {name} | service {name} status
        """,
    ),
    Lookup(
        "journal_tail",
        "the journal of a systemd unit",
        "journalctl -u {unit} -n {tail|100}[ --since={since}]",
        """
        journal of {name} | journal of the {name} unit | journal of unit {name} | journal of the unit {name} |
        journal of the {name} service | journal of service {name} | {name} journal | {name} unit journal |
        journal of {name} {since} | journal of the {name} unit {since} | journal of the {name} service {since} |
        last {number} journal lines of {name} | last {number} lines of the journal of {name} |
        last {number} lines of the {name} journal | last {number} journal entries of {name} |
        last {number} lines of the journal of the {name} unit | last lines of the journal of {name} |
        last lines of the {name} journal | last lines of the {name} unit | end of the {name} journal |
        logs of the {name} unit | logs of unit {name} | logs of the unit {name} | log of the {name} unit |
        {name} unit logs | logs of the {name} unit {since} | last {number} log lines of the {name} unit |
        last log lines of the {name} unit | logs of the {name} systemd service | logs of the systemd service {name} |
        last {number} log lines of the {name} systemd service | logs of the systemd unit {name}
        """,
        slots={"name": "unit", "number": "tail", "since": "since"},
        needs=("unit",),
        must=("journal/unit/systemd",),
        commands="""
        journalctl -u {name} | journalctl -u {name} -n {number} | journalctl -n {number} -u {name} |
        journalctl --unit {name} | journalctl --unit={name} | journalctl -eu {name} | journalctl -u {name} -e |
        journalctl -u {name} --lines={number} | journalctl -u {name} --no-pager
        """,
    ),
    Lookup(
        "journal_tail",
        "the last lines of the journal",
        "journalctl -n {tail|100}[ --since={since}]",
        """
        journal | system journal | systemd journal | journal of the system | journal of this machine |
        last lines of the journal | last journal lines | last {number} lines of the journal |
        last {number} journal lines | last {number} journal entries | newest lines of the journal |
        newest {number} lines of the journal | end of the journal | tail of the journal | tail the journal |
        journal {since} | system journal {since} | what is in the journal | what is in the journal {since}
        """,
        slots={"number": "tail", "since": "since"},
        must=("journal",),
        commands="journalctl | journalctl -n {number} | journalctl -e | journalctl --no-pager | journalctl -b",
    ),
    Lookup(
        "journal_tail",
        "errors in the journal",
        "journalctl -p err -n {tail|100}[ --since={since}]",
        """
        errors in the journal | errors in the journal {since} | any errors in the journal |
        any errors in the journal {since} | are there errors in the journal | are there errors in the journal {since} |
        are there any errors in the journal | are there any errors in the journal {since} | journal errors |
        errors in the system journal | last errors in the journal | last {number} errors in the journal
        """,
        fixed={"priority": "err"},
        slots={"number": "tail", "since": "since"},
        must=("journal", "error"),
        commands="journalctl -p err | journalctl -p 3 | journalctl -p err -n {number} | journalctl -p err -b",
    ),
)
