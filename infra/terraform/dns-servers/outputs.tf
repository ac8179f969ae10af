output "security_group_id" {
  description = "The servers' security group"
  value       = aws_security_group.this.id
}

output "role_arn" {
  description = "The servers' role"
  value       = aws_iam_role.this.arn
}
