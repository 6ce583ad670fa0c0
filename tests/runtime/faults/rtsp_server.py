"""GStreamer's RTSP server, run by Debian's own python3.

Usage: `rtsp_server.py PORT [--fps N] [--size WxH] [--user U --password P]`

Paths: /h264, /jpeg, and /live in either codec: a moving test image. Prints `ready` when it listens.
"""

import argparse

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("port")
parser.add_argument("--fps", type=int, default=25)
parser.add_argument("--size", default="320x240")
parser.add_argument(
    "--live", choices=["h264", "jpeg"], default="h264", help="what /live is coded in"
)
parser.add_argument("--user")
parser.add_argument("--password")
options = parser.parse_args()
width, height = options.size.split("x")

Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(options.port)
if options.user:
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(options.user, options.password), token)
    server.set_auth(auth)
picture = (
    "videotestsrc is-live=true pattern=ball ! "
    f"video/x-raw,width={width},height={height},framerate={options.fps}/1"
)
codings = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! "
    "rtph264pay name=pay0 config-interval=1",
    "jpeg": "video/x-raw,format=I420 ! jpegenc ! rtpjpegpay name=pay0",
}
for path, coding in (
    ("/live", codings[options.live]),
    *((f"/{name}", coding) for name, coding in codings.items()),
):
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( {picture} ! videoconvert ! {coding} )")
    factory.set_shared(True)
    if options.user:
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("viewer", "media.factory.access", True)
        permissions.add_permission_for_role("viewer", "media.factory.construct", True)
        factory.set_permissions(permissions)
    server.get_mount_points().add_factory(path, factory)
assert server.attach(None), "the port is taken"
print("ready", flush=True)
GLib.MainLoop().run()
