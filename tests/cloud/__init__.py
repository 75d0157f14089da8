"""The client of Phala Cloud, against fakes and against the simulator."""
