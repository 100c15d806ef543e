"""Generated code and its source. Nobody imports it but `codec`."""
