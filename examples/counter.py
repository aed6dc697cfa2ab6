from tapd import LineProtocol, Service


class Visitor(LineProtocol):
    service: "Counter"
    lines = 0

    def line_received(self, line: str) -> None:
        self.lines += 1
        self.service.lines += 1
        self.send_line(f"{line}: line {self.lines} of yours, {self.service.lines} of all")


class Counter(Service):
    protocol = Visitor
    lines = 0
