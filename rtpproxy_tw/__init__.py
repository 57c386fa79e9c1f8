"""An RTP relay for SIP proxies, on Twisted."""
