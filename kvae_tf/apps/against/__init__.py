"""The engine beside other libraries' Kalman filters, each in a process of its own."""
