"""How SIP proxies talk to the relay."""
