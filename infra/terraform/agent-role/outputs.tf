output "role_arn" {
  description = "The role's ARN"
  value       = aws_iam_role.this.arn
}

output "role_name" {
  description = "The role's name, for what hosts need beside this"
  value       = aws_iam_role.this.name
}

output "instance_profile_arn" {
  description = "The instance profile's ARN, for launch templates"
  value       = aws_iam_instance_profile.this.arn
}

output "instance_profile_name" {
  description = "The instance profile's name, for instances"
  value       = aws_iam_instance_profile.this.name
}
