# No inbound connections to tasks; outbound only to what they need.
resource "aws_security_group" "tasks" {
  name        = "${local.name}-tasks"
  description = "Prefect worker and flow runs: outgoing only"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_egress_rule" "this" {
  for_each = toset([for port in var.egress_ports : tostring(port)])

  security_group_id = aws_security_group.tasks.id
  description       = "TCP ${each.key} out"
  ip_protocol       = "tcp"
  from_port         = each.key
  to_port           = each.key
  cidr_ipv4         = "0.0.0.0/0"
}
