"""`tapctl`: administers servers and inspects their TAPs; a module for each verb."""
