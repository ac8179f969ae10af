# The Route 53 way: a hosted zone, private to a VPC, for the names of hosts, and one for their addresses. With no DNS servers of
# one's own `resolver.manager = "none"` leaves hosts with the VPC's resolver, which serves both.
#
# Route 53 deletes no zone that still has records. Only with `force_destroy` are those of hosts deleted with it.

data "aws_region" "this" {}

resource "aws_route53_zone" "names" {
  name          = var.domain
  comment       = "Names of hosts, published by tagalong"
  force_destroy = var.force_destroy

  vpc {
    vpc_id     = var.vpc
    vpc_region = data.aws_region.this.region
  }
}

resource "aws_route53_zone" "addresses" {
  count = var.reverse_domain == "" ? 0 : 1

  name          = var.reverse_domain
  comment       = "Addresses of hosts, published by tagalong"
  force_destroy = var.force_destroy

  vpc {
    vpc_id     = var.vpc
    vpc_region = data.aws_region.this.region
  }
}
