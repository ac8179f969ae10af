# What hosts with tagalong need of IAM: a role of the least rights, and its instance profile. Which statements there are follows the
# variables; `tagalong config iam-policy` prints them for one host's configuration, with its very names as conditions, and what
# `elastic-ipv4`, `tag:` and `key_secret` take beside these.

data "aws_partition" "this" {}

data "aws_region" "this" {}

data "aws_caller_identity" "this" {}

locals {
  partition = data.aws_partition.this.partition
  region    = data.aws_region.this.region
  account   = data.aws_caller_identity.this.account_id
}

resource "aws_iam_role" "this" {
  name_prefix = "tagalong-"
  description = "Hosts with tagalong"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Principal = { Service = "ec2.amazonaws.com" }, Action = "sts:AssumeRole" },
    ]
  })
}

resource "aws_iam_role_policy" "this" {
  name   = "tagalong"
  role   = aws_iam_role.this.id
  policy = jsonencode({ Version = "2012-10-17", Statement = local.statements })
}

resource "aws_iam_instance_profile" "this" {
  name_prefix = "tagalong-"
  role        = aws_iam_role.this.name
}
