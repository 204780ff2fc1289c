"""Everything that knows SOAP, XML or HTTP, and nothing that knows streams."""
