from twisted.application.service import ServiceMaker

rtpproxy = ServiceMaker(
    "RTPproxy",
    "rtpproxy_tw.tap",
    "An RTP relay for SIP proxies, taking the commands and options of RTPproxy.",
    "rtpproxy",
)
