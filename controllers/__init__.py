"""The firewalls: policy as data, its compilation to flows, and the Ryu application that installs them."""
