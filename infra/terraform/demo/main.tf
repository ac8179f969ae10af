# tagalong at work: a VPC, a BIND primary, DNS servers that tag themselves, a private hosted zone, the hosts' role, and three hosts,
# web-1 to web-3, whose names are in both; their console output shows it. First make the key, so that it is in no state and no
# user data:
#
#   tsig-keygen agent-key >tsig.key
#   aws ssm put-parameter --name /tagalong/tsig --type SecureString --value file://tsig.key
#   terraform apply -var package_url=https://... -var package_sha256=...
#
# `terraform destroy` takes the hosted zone with it, with the hosts' names.

locals {
  cidr    = "${var.network}.0.0/16"
  subnets = { a = 0, b = 1 }
  hosts   = { web-1 = "a", web-2 = "b", web-3 = "a" }
}

data "aws_region" "this" {}

data "aws_availability_zones" "here" {
  state = "available"

  # No Local Zones.
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

data "aws_ssm_parameter" "image" {
  name = var.image
}

resource "aws_vpc" "this" {
  cidr_block           = local.cidr
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = { Name = var.name }
}

resource "aws_default_security_group" "this" {
  vpc_id = aws_vpc.this.id
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id
}

resource "aws_route_table" "this" {
  vpc_id = aws_vpc.this.id

  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.this.id
  }
}

resource "aws_subnet" "this" {
  for_each = local.subnets

  vpc_id                  = aws_vpc.this.id
  availability_zone       = data.aws_availability_zones.here.names[each.value]
  cidr_block              = "${var.network}.${each.value + 1}.0/24"
  map_public_ip_on_launch = true
}

# What is in a subnet is named by this, so that it has a way out from its first boot to its end.
resource "aws_route_table_association" "this" {
  for_each = aws_subnet.this

  subnet_id      = each.value.id
  route_table_id = aws_route_table.this.id
}

# Nobody logs in: hosts show on their consoles what they did.
resource "aws_security_group" "inside" {
  name_prefix = "${var.name}-"
  description = "DNS within the VPC"
  vpc_id      = aws_vpc.this.id
}

resource "aws_vpc_security_group_ingress_rule" "inside" {
  for_each = toset(["udp", "tcp"])

  security_group_id = aws_security_group.inside.id
  description       = "DNS"
  ip_protocol       = each.key
  from_port         = 53
  to_port           = 53
  cidr_ipv4         = local.cidr
}

resource "aws_vpc_security_group_egress_rule" "all" {
  security_group_id = aws_security_group.inside.id
  description       = "Whatever the hosts ask"
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
}

module "private_zone" {
  source = "../private-zone"

  vpc           = aws_vpc.this.id
  domain        = var.hosted_domain
  force_destroy = true
}

module "agent_role" {
  source = "../agent-role"

  hosted_zone_id = module.private_zone.zone_id
  domain         = var.hosted_domain
  key_parameter  = var.key_parameter
}

resource "aws_instance" "primary" {
  ami                         = data.aws_ssm_parameter.image.insecure_value
  instance_type               = var.instance_type
  iam_instance_profile        = module.agent_role.instance_profile_name
  subnet_id                   = aws_route_table_association.this["a"].subnet_id
  private_ip                  = "${var.network}.1.10"
  vpc_security_group_ids      = [aws_security_group.inside.id]
  tags                        = { Name = "dns-primary" }
  user_data_replace_on_change = true
  user_data = templatefile("${path.module}/primary.sh.tftpl", {
    region        = data.aws_region.this.region
    network       = var.network
    domain        = var.domain
    key_parameter = var.key_parameter
  })

  metadata_options {
    http_endpoint = "enabled"
    http_tokens   = "required"
  }

  root_block_device {
    encrypted = true
  }

  # An image that is newer would replace it, and the zone is in it.
  lifecycle {
    ignore_changes = [ami]
  }

  depends_on = [aws_vpc_security_group_egress_rule.all]
}

module "dns_servers" {
  source = "../dns-servers"

  name          = "${var.name}-dns"
  vpc           = aws_vpc.this.id
  subnet_a      = aws_route_table_association.this["a"].subnet_id
  subnet_b      = aws_route_table_association.this["b"].subnet_id
  clients       = local.cidr
  domain        = var.domain
  primary       = aws_instance.primary.private_ip
  key_parameter = var.key_parameter
  image         = var.image
  instance_type = var.instance_type
}

resource "aws_instance" "hosts" {
  for_each = local.hosts

  ami                         = data.aws_ssm_parameter.image.insecure_value
  instance_type               = var.instance_type
  iam_instance_profile        = module.agent_role.instance_profile_name
  subnet_id                   = aws_route_table_association.this[each.value].subnet_id
  vpc_security_group_ids      = [aws_security_group.inside.id]
  tags                        = { Name = each.key }
  user_data_replace_on_change = true
  user_data = templatefile("${path.module}/host.sh.tftpl", {
    domain         = var.domain
    hosted_domain  = var.hosted_domain
    zone_id        = module.private_zone.zone_id
    key_parameter  = var.key_parameter
    package_url    = var.package_url
    package_sha256 = var.package_sha256
  })

  metadata_options {
    http_endpoint          = "enabled"
    http_tokens            = "required"
    instance_metadata_tags = "enabled"
  }

  root_block_device {
    encrypted = true
  }

  # An image that is newer would replace it.
  lifecycle {
    ignore_changes = [ami]
  }

  depends_on = [aws_vpc_security_group_egress_rule.all]
}
