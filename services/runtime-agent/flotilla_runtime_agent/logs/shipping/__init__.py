"""Log drivers that send messages elsewhere: syslog, gelf, fluentd, journald."""
