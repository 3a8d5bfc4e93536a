"""The prompt of `ci/lab cli`: Mininet's habit, "NODE COMMAND", where a host's name stands for its address."""

from __future__ import annotations

import cmd
from collections.abc import Callable

from testbed import commands
from testbed.lab import Lab, LabError
from testbed.words import echoed, one_of, printable


def cli(lab: str | None) -> None:
    """Open the prompt of a running lab, the only one if no name is given."""
    Prompt(Lab.attach(lab)).cmdloop()


class Prompt(cmd.Cmd):
    """Reads a line, runs it in the lab; an error is one line and the prompt goes on."""

    intro = (
        "NODE COMMAND runs a command in a node: h1 ping -c 1 h4. Also: status, show, lig, ping, move, logs, restart,"
        " shell, help, exit."
    )
    doc_header = "commands (help COMMAND says more)"

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        self.lab = lab
        self.prompt = f"{lab.name}> "

    def onecmd(self, line: str) -> bool:
        """Carry out one line; True ends the prompt."""
        try:
            return bool(super().onecmd(line))
        except (LabError, KeyboardInterrupt) as error:
            print(printable(str(error)) or "interrupted")
            return False

    def do_EOF(self, _line: str) -> bool:  # noqa: N802 - cmd calls it so
        """Leave the prompt, by Ctrl-D; the lab stays up."""
        print()
        return True

    def emptyline(self) -> bool:
        """Do nothing (cmd would repeat the last line)."""
        return False

    def default(self, line: str) -> None:
        """NODE COMMAND: run it in the node; other hosts' names become their addresses."""
        node, _, rest = line.strip().partition(" ")
        if node not in self.lab.topology.nodes:
            nodes = one_of(self.lab.topology.nodes, node, "nodes")
            raise LabError(f"{echoed(node)} is neither a command nor a node; {nodes}")
        if not rest.strip():
            raise LabError(f"say what {node} is to do: {node} ip route, or: shell {node}")
        names = {host.name: str(host.address) for host in self.lab.topology.hosts}
        words = [names.get(word, word) for word in rest.split(" ")]
        self.lab.exec(node, ["sh", "-c", " ".join(words)])

    def completenames(self, text: str, *_ignored: object) -> list[str]:
        """Complete commands and nodes."""
        return super().completenames(text) + [name for name in self.lab.topology.nodes if name.startswith(text)]

    def do_status(self, line: str) -> None:
        """Show every node and its state."""
        self._words(line, "status", 0)
        commands.status(self.lab.name)

    do_nodes = do_status

    def do_shell(self, line: str) -> None:
        """Open a shell inside a node: shell NODE."""
        (node,) = self._words(line, "shell NODE", 1)
        self.lab.shell(node)

    def do_logs(self, line: str) -> None:
        """Print a node's log: logs NODE."""
        (node,) = self._words(line, "logs NODE", 1)
        commands.logs(self.lab.name, node)

    def do_show(self, line: str) -> None:
        """Show a table of a LISP node: show NODE WHAT."""
        node, what = self._words(line, "show NODE WHAT", 2)
        commands.show(self.lab.name, node, what)

    def do_lig(self, line: str) -> None:
        """Ask the mapping system: lig NODE EID; a host's name may stand for its EID."""
        node, eid = self._words(line, "lig NODE EID", 2)
        names = {host.name: str(host.address) for host in self.lab.topology.hosts}
        commands.lig(self.lab.name, node, names.get(eid, eid))

    def do_ping(self, line: str) -> None:
        """Ping every ordered pair of hosts, judged by what the core saw."""
        self._words(line, "ping", 0)
        commands.ping(self.lab.name)

    def do_restart(self, line: str) -> None:
        """Restart a LISP node's daemon: restart NODE."""
        (node,) = self._words(line, "restart NODE", 1)
        commands.restart(self.lab.name, node)

    def do_move(self, line: str) -> None:
        """Move a host to another site, or a mobile node to another network: move NODE SITE."""
        node, site = self._words(line, "move NODE SITE", 2)
        commands.move(self.lab.name, node, site)

    def do_exit(self, _line: str) -> bool:
        """Leave the prompt; the lab stays up."""
        return True

    do_quit: Callable[[Prompt, str], bool] = do_exit

    @staticmethod
    def _words(line: str, usage: str, number: int) -> list[str]:
        words = line.split()
        if len(words) != number:
            raise LabError(f"usage: {usage}")
        return words
