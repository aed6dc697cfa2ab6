"""Sans-IO wire formats shared by server types: telnet, terminals, PROXY, addresses."""
