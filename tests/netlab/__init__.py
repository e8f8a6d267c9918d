"""A network between two hosts on one machine: namespaces, and a relay that delays, drops and throttles as told."""
