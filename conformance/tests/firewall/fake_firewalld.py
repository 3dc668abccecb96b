"""A firewalld that knows zones and their sources, and nothing else: what the real one answers to these three calls."""
import sys

import dbus
import dbus.mainloop.glib
import dbus.service
from gi.repository import GLib

ZONE = "org.fedoraproject.FirewallD1.zone"
SOURCES = {"trusted": set(), "cni": set()}


class Refused(dbus.DBusException):
    _dbus_error_name = "org.fedoraproject.FirewallD1.Exception"


def sources(zone):
    if zone not in SOURCES:
        raise Refused(f"INVALID_ZONE: {zone}")
    return SOURCES[zone]


class FirewallD(dbus.service.Object):
    @dbus.service.method(ZONE, in_signature="ss", out_signature="s")
    def addSource(self, zone, source):
        if source in sources(zone):
            raise Refused(f"ZONE_ALREADY_SET: '{source}' already bound to '{zone}'")
        if any(source in others for others in SOURCES.values()):
            raise Refused(f"ZONE_CONFLICT: '{source}' already bound to a zone")
        sources(zone).add(source)
        self.changed(zone, source)
        self.tell()
        return zone

    @dbus.service.method(ZONE, in_signature="ss", out_signature="s")
    def removeSource(self, zone, source):
        if source not in sources(zone):
            raise Refused(f"UNKNOWN_SOURCE: '{source}' is not in any zone")
        sources(zone).remove(source)
        self.tell()
        return zone

    @dbus.service.method(ZONE, in_signature="ss", out_signature="b")
    def querySource(self, zone, source):
        return source in sources(zone)

    @dbus.service.signal(ZONE, signature="ss")
    def changed(self, zone, source):
        """Signals come between the calls and their answers."""

    def tell(self):
        with open(sys.argv[1], "w") as file:
            file.write("".join(f"{zone} {one}\n" for zone, all in sorted(SOURCES.items()) for one in sorted(all)))


dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
bus = dbus.bus.BusConnection(sys.argv[2])
service = FirewallD(bus, "/org/fedoraproject/FirewallD1")
service.tell()
name = dbus.service.BusName("org.fedoraproject.FirewallD1", bus)
GLib.MainLoop().run()
