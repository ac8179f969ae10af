# DNS servers of one's own: an Auto Scaling group of BIND servers in each of two Availability Zones. A server is found by tagalong
# from the moment on at which it has tagged itself, which it does when it answers for the zone; before it is terminated it is tagged
# as draining, and hosts stop using it before it stops answering. A group counts a server when that serves, so that all serve when
# `terraform apply` ends, and none is replaced before another serves. Servers hand what is not theirs to the VPC's resolver.

data "aws_partition" "this" {}

data "aws_region" "this" {}

data "aws_caller_identity" "this" {}

data "aws_ssm_parameter" "image" {
  name = var.image
}

locals {
  partition = data.aws_partition.this.partition
  region    = data.aws_region.this.region
  account   = data.aws_caller_identity.this.account_id
}

resource "aws_iam_role" "this" {
  name_prefix = "${var.name}-"
  description = "DNS servers that tag themselves"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Principal = { Service = "ec2.amazonaws.com" }, Action = "sts:AssumeRole" },
    ]
  })
}

resource "aws_iam_role_policy" "this" {
  name   = "dns-server"
  role   = aws_iam_role.this.id
  policy = jsonencode({ Version = "2012-10-17", Statement = local.statements })
}

resource "aws_iam_instance_profile" "this" {
  name_prefix = "${var.name}-"
  role        = aws_iam_role.this.name
}

resource "aws_security_group" "this" {
  name_prefix = "${var.name}-"
  description = "DNS"
  vpc_id      = var.vpc

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "dns" {
  for_each = toset(["udp", "tcp"])

  security_group_id = aws_security_group.this.id
  description       = "DNS"
  ip_protocol       = each.key
  from_port         = 53
  to_port           = 53
  cidr_ipv4         = var.clients
}

# Packages, the primary, and the endpoints of EC2, Auto Scaling and Systems Manager.
resource "aws_vpc_security_group_egress_rule" "all" {
  security_group_id = aws_security_group.this.id
  description       = "Whatever the servers ask"
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
}

resource "aws_launch_template" "this" {
  name_prefix            = "${var.name}-"
  image_id               = data.aws_ssm_parameter.image.insecure_value
  instance_type          = var.instance_type
  vpc_security_group_ids = [aws_security_group.this.id]
  user_data              = base64encode(local.user_data)

  iam_instance_profile {
    arn = aws_iam_instance_profile.this.arn
  }

  metadata_options {
    http_endpoint          = "enabled"
    http_tokens            = "required"
    instance_metadata_tags = "enabled"
  }
}

resource "aws_autoscaling_group" "this" {
  for_each = local.groups

  name                = each.value
  min_size            = var.servers_per_zone
  max_size            = 6
  vpc_zone_identifier = [each.key == "a" ? var.subnet_a : var.subnet_b]

  wait_for_capacity_timeout = "15m"

  launch_template {
    id      = aws_launch_template.this.id
    version = aws_launch_template.this.latest_version
  }

  initial_lifecycle_hook {
    name                 = "serve"
    lifecycle_transition = "autoscaling:EC2_INSTANCE_LAUNCHING"
    heartbeat_timeout    = 900
    default_result       = "ABANDON"
  }

  initial_lifecycle_hook {
    name                 = "drain"
    lifecycle_transition = "autoscaling:EC2_INSTANCE_TERMINATING"
    heartbeat_timeout    = 600
    default_result       = "CONTINUE"
  }

  tag {
    key                 = "Name"
    value               = each.value
    propagate_at_launch = true
  }

  # A changed template replaces the servers.
  instance_refresh {
    strategy = "Rolling"

    preferences {
      min_healthy_percentage = 100
      max_healthy_percentage = 200
    }
  }

  # The role's rights are there before the first server asks for them, and until the last one is gone.
  depends_on = [aws_iam_role_policy.this, aws_vpc_security_group_egress_rule.all]
}
