# What DNS servers may do: as in infra/cloudformation/dns-servers.yaml, but for the tag by which an instance is known to be one of
# these, and with no stack to be told. No resource and no data source is in this file, so that it can be evaluated without a provider.
locals {
  groups = { for zone in ["a", "b"] : zone => "${var.name}-${zone}" }

  possible = [
    {
      when = true
      statement = {
        Sid      = "TagItself"
        Effect   = "Allow"
        Action   = "ec2:CreateTags"
        Resource = "arn:${local.partition}:ec2:${local.region}:${local.account}:instance/*"
        # A group tags its instances. ForAllValues alone is true of a request without keys.
        Condition = {
          StringEquals                = { "ec2:ResourceTag/aws:autoscaling:groupName" = ["${var.name}-a", "${var.name}-b"] }
          StringEqualsIfExists        = { "aws:RequestTag/tagalong:dns-server" = var.domain }
          "ForAllValues:StringEquals" = { "aws:TagKeys" = ["tagalong:dns-server", "tagalong:draining"] }
          Null                        = { "aws:TagKeys" = "false" }
        }
      }
    },
    {
      when = true
      statement = {
        Sid    = "EndInOrder"
        Effect = "Allow"
        Action = "autoscaling:CompleteLifecycleAction"
        Resource = [
          "arn:${local.partition}:autoscaling:${local.region}:${local.account}:autoScalingGroup:*:autoScalingGroupName/${var.name}-a",
          "arn:${local.partition}:autoscaling:${local.region}:${local.account}:autoScalingGroup:*:autoScalingGroupName/${var.name}-b",
        ]
      }
    },
    {
      when = true
      statement = {
        Sid      = "ReadKey"
        Effect   = "Allow"
        Action   = "ssm:GetParameter"
        Resource = "arn:${local.partition}:ssm:${local.region}:${local.account}:parameter${var.key_parameter}"
      }
    },
    {
      when = var.key_of_parameter != ""
      statement = {
        Sid       = "DecryptKey"
        Effect    = "Allow"
        Action    = "kms:Decrypt"
        Resource  = var.key_of_parameter
        Condition = { StringLike = { "kms:ViaService" = "ssm.*" } }
      }
    },
  ]

  statements = [for it in local.possible : it.statement if it.when]

  # The shell of the CloudFormation template, but that it tells the group, and no stack, that it serves.
  user_data = templatefile("${path.module}/user-data.sh.tftpl", {
    region        = local.region
    clients       = var.clients
    domain        = var.domain
    primary       = var.primary
    key_parameter = var.key_parameter
  })
}
