from mpclab.core.wire cimport Frame

cpdef record_sent(trace, now, actor, tuple to, Frame frame, via)
