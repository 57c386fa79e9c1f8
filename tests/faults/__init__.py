"""Every call into the outside made to fail, one after the other, in a process and by its kernel."""
