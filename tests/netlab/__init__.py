"""Two hosts on one machine: network namespaces, and a relay that delays, drops and throttles packets between them."""
